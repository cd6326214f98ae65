"""sentencepiece's rules about what one piece may hold, against models that sentencepiece trained
under them.
"""

from __future__ import annotations

import io
from typing import Any

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from tasks.checkpoints.sentencepiece_model import NORMAL, TrainerSpec, parse_model, read_model
from tasks.tokenizer.rules import SplittingRules
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH

TEXTS = [
    *ENGLISH,
    *CHINESE,
    *["x1 12ab ３４中 Привет-мир コーヒーと東京 नमस्ते (a) éa\u0301    if x:"] * 30,
]


@pytest.mark.parametrize(
    ("piece", "changed", "allowed"),
    [
        ("▁the", {}, True),
        ("the▁", {}, False),
        ("▁▁▁", {}, True),
        ("▁▁a", {}, False),
        ("a▁b", {}, False),
        ("a▁b", {"split_by_whitespace": False}, True),
        ("a▁", {"split_by_whitespace": False}, False),
        ("▁▁▁", {"allow_whitespace_only_pieces": False}, False),
        ("1", {}, True),
        ("12", {}, False),
        ("▁1", {}, False),
        ("12", {"split_digits": False}, True),
        ("a1", {"split_digits": False}, False),
        ("３４", {}, False),
        ("a1", {"split_digits": False, "split_by_number": False}, True),
        ("コーヒーと東京", {}, True),
        ("中a", {}, False),
        ("中，", {}, False),
        ("中a", {"split_by_unicode_script": False}, True),
        ("、。", {}, True),
        ("a\u0301b", {}, True),
        ("\u0301中", {}, True),
        ("Приvет", {}, False),
    ],
)
def test_what_one_piece_may_hold(piece: str, changed: dict[str, bool], allowed: bool) -> None:
    spec = TrainerSpec(**{"split_digits": True, "allow_whitespace_only_pieces": True, **changed})
    assert SplittingRules(spec).allows(piece) is allowed
    if allowed and (len(piece) > 1 or piece == "1"):
        assert SplittingRules(spec).words(piece) == [piece], (
            "words keep what may be one piece together"
        )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"split_digits": True, "allow_whitespace_only_pieces": True},
        {"split_by_unicode_script": False},
        {"split_by_number": False},
        {"split_by_whitespace": False},
        {"max_sentencepiece_length": 4},
    ],
)
def test_every_piece_of_a_trained_model_obeys_its_rules(settings: dict[str, Any]) -> None:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=out,
        model_type="bpe",
        vocab_size=500,
        hard_vocab_limit=False,
        character_coverage=1.0,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        minloglevel=2,
        num_threads=1,
        **settings,
    )
    model = parse_model(out.getvalue())
    rules = SplittingRules(model.trainer)
    pieces = [piece.text for piece in model.pieces if piece.kind == NORMAL]
    assert len(pieces) > 150 and max(map(len, pieces)) <= model.trainer.max_sentencepiece_length
    assert [piece for piece in pieces if not rules.allows(piece)] == []
    words = {word for text in TEXTS for word in rules.words("▁" + text.replace(" ", "▁"))}
    assert [
        piece for piece in pieces if len(piece) > 1 and not any(piece in word for word in words)
    ] == []


@given(st.text(st.sampled_from("今天，a b1２\u0301ー\n\t①Я"), max_size=20))
def test_words_lie_in_the_text_in_order_and_without_line_breaks(text: str) -> None:
    text = text.replace(" ", "▁")
    at = 0
    for word in SplittingRules().words(text):
        at = text.index(word, at) + len(word)
        assert not set(word) & set("\n\t")


@pytest.mark.real
def test_every_piece_of_llama_2_obeys(real_data: Any) -> None:
    model = read_model(real_data / "tokenizers" / "llama2-32000" / "tokenizer.model")
    rules = SplittingRules(model.trainer)
    pieces = [piece.text for piece in model.pieces if piece.kind == NORMAL]
    assert len(pieces) == 31_741 and all(map(rules.allows, pieces))
    published = read_model(real_data / "tokenizers" / "chinese-llama2-55296" / "tokenizer.model")
    assert (model.equal_scores(), published.equal_scores()) == (16, 23_312)
