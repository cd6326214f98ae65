"""A sentencepiece model made from a fast tokenizer segments as it does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.tokenizer_files import size_of
from tasks.export.sentencepiece_file import is_sentencepiece_style, model_of
from tasks.tokenizer.expand import grow
from tasks.tokenizer.train import bytes_only
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH, sentencepiece_base

SETTINGS = {"bos_token": "<s>", "eos_token": "</s>"}
BASE = sentencepiece_base()
GROWN = grow(BASE, CHINESE + ENGLISH, size_of(BASE) + 40).tokenizer
MODEL = SentencePieceProcessor(model_proto=model_of(GROWN, SETTINGS))


def test_families() -> None:
    assert is_sentencepiece_style(GROWN) and not is_sentencepiece_style(bytes_only())


def test_pieces_ids_and_special_tokens() -> None:
    names = {index: token for token, index in GROWN.get_vocab(with_added_tokens=True).items()}
    assert [MODEL.id_to_piece(i) for i in range(MODEL.vocab_size())] == [
        names[i] for i in range(size_of(GROWN))
    ]
    assert (MODEL.unk_id(), MODEL.bos_id(), MODEL.eos_id(), MODEL.pad_id()) == (0, 1, 2, -1)
    assert MODEL.is_control(1) and MODEL.is_byte(3)


@given(
    text=st.one_of(
        st.text(max_size=60),
        st.text(st.sampled_from("今天公园花好我们去不，the cat\n  sat😀"), max_size=60),
    )
)
def test_segmentation(text: str) -> None:
    if "\u2581" in text or "\x00" in text:
        return
    assert MODEL.encode(text) == GROWN.encode(text, add_special_tokens=False).ids


def test_merges_that_no_scores_explain_are_refused() -> None:
    state = json.loads(GROWN.to_str())
    merges = state["model"]["merges"]
    state["model"]["merges"] = [pair for pair in merges if "".join(pair) != "the"][:40:-1]
    with pytest.raises(StageError, match="no sentencepiece model segments"):
        model_of(Tokenizer.from_str(json.dumps(state)), SETTINGS)
