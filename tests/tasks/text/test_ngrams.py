"""The n-gram index finds exactly what a naive search over words finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text.ngrams import GramIndex, Grams, window_hashes, word_hashes
from tasks.text.shingles import normalise, words

TEXTS = st.lists(st.sampled_from(["a", "bb", "A!", "你", "好，", " ", "c-d", "ｂb"]), max_size=30).map(" ".join)


def index_of(runs: list[str], anchor: int) -> GramIndex:
    hashes = word_hashes(runs)
    lengths = np.array([len(run) for run in hashes])
    anchors = np.minimum(lengths, anchor)
    return GramIndex(
        Grams(np.concatenate(hashes), np.cumsum(lengths) - lengths, lengths, anchors, np.arange(len(runs)))
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=6), st.lists(TEXTS.filter(lambda t: bool(words(normalise(t)))), min_size=1))
def test_hits_are_those_of_a_naive_search(texts: list[str], runs: list[str]) -> None:
    index = index_of(runs, anchor=2)
    for text, hits in zip(texts, index.find(texts), strict=True):
        document = words(normalise(text))
        for owner, run in enumerate(runs):
            gram = words(normalise(run))
            there = any(document[at : at + len(gram)] == gram for at in range(len(document)))
            assert there == (owner in {hit.owner for hit in hits}), (text, run)
        assert [hit.owner for hit in hits] == sorted({hit.owner for hit in hits})


def test_windows_hash_equally_wherever_they_stand() -> None:
    hashes = np.random.default_rng(0).integers(0, 1 << 64, 50, dtype=np.uint64, endpoint=False)
    twice = np.concatenate([hashes, hashes])
    windows = window_hashes(twice, 13)
    assert len(windows) == 100 - 12
    np.testing.assert_array_equal(windows[:38], windows[50:88])
    assert len(np.unique(windows)) == 50
    assert len(window_hashes(hashes, 51)) == 0


def test_a_hit_shows_its_whole_run_of_common_words() -> None:
    index = index_of(["one two three", "two three four", "只有一个"], anchor=3)
    [first] = index.find(["Zero. One two THREE, four!"])
    assert [(hit.owner, hit.text) for hit in first] == [(0, "one two three"), (1, "two three four")]
    assert [hit.text for hit in index.find(["他说：只，有一个！"])[0]] == ["只有一个"]


@pytest.mark.parametrize("text", ["", " ", "。", "one"])
def test_texts_too_short_for_any_gram_have_no_hit(text: str) -> None:
    assert index_of(["one two three"], anchor=3).find([text, text]) == [[], []]
