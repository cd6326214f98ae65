"""The split into words of a grown byte-level tokenizer is found as its base's."""

from __future__ import annotations

from tokenizers import Tokenizer

from tasks.checkpoints.tokenizer_files import size_of
from tasks.export.pretokenizer import (
    LLAMA_3,
    name_of_split,
    splits_as_llama_3,
    without_new_tokens,
)
from tasks.tokenizer.expand import grow
from tasks.tokenizer.train import bytes_only
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH, MIXED, sentencepiece_base

BASE = grow(bytes_only(), ENGLISH, 320).tokenizer
GROWN = grow(BASE, CHINESE, 380).tokenizer


def ids(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch(texts)]


def test_without_its_new_tokens_it_segments_as_the_base() -> None:
    cut = without_new_tokens(GROWN, size_of(BASE))
    texts = CHINESE + ENGLISH + MIXED
    assert ids(GROWN, texts) != ids(BASE, texts)
    assert ids(cut, texts) == ids(BASE, texts)
    assert cut.get_vocab() == BASE.get_vocab()


def test_the_converter_is_asked_about_the_base_where_it_does_not_know_the_grown_one() -> None:
    def ask(tokenizer: Tokenizer) -> str | None:
        return "published" if ids(tokenizer, MIXED) == ids(BASE, MIXED) else None

    assert ids(GROWN, MIXED) != ids(BASE, MIXED)
    assert name_of_split(GROWN, size_of(BASE), ask) == "published"


def test_what_the_converter_knows_stands() -> None:
    assert name_of_split(GROWN, None, lambda tokenizer: "qwen2") == "qwen2"


def test_an_unpublished_tokenizer_is_named_by_its_expression() -> None:
    assert splits_as_llama_3(GROWN)
    assert name_of_split(GROWN, None, lambda tokenizer: None) == LLAMA_3


def test_an_unknown_split_has_no_name() -> None:
    assert not splits_as_llama_3(sentencepiece_base())
    assert name_of_split(sentencepiece_base(), None, lambda tokenizer: None) is None
