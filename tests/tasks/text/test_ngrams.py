"""The n-gram index finds exactly what a naive search over words finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text import word_hashes as hashing
from tasks.text.ngrams import GramIndex, Grams
from tasks.text.shingles import normalise, words
from tasks.text.word_hashes import (
    VANISHING,
    window_hashes,
    without_vanishing,
    word_hashes,
    word_spans,
)

TEXTS = st.lists(
    st.sampled_from(["a", "bb", "A!", "你", "好，", " ", "c-d", "ｂb"]), max_size=30
).map(" ".join)


def index_of(runs: list[str], anchor: int) -> GramIndex:
    hashes = word_hashes(runs)
    lengths = np.array([len(run) for run in hashes])
    anchors = np.minimum(lengths, anchor)
    return GramIndex(
        Grams(
            np.concatenate(hashes),
            np.cumsum(lengths) - lengths,
            lengths,
            anchors,
            np.arange(len(runs)),
        )
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(TEXTS, min_size=1, max_size=6),
    st.lists(TEXTS.filter(lambda t: bool(words(normalise(t)))), min_size=1),
)
def test_hits_equal_a_naive_search(texts: list[str], runs: list[str]) -> None:
    index = index_of(runs, anchor=2)
    for text, hits in zip(texts, index.find(texts), strict=True):
        document = words(normalise(text))
        for hit in hits:
            gram = words(normalise(runs[hit.owner]))
            starts = [s for s in range(len(document)) if document[s : s + len(gram)] == gram]
            covered = {start + step for start in starts for step in range(len(gram))}
            assert covered == {word for first, end in hit.runs for word in range(first, end)}
            assert all(run[1] < following[0] for run, following in itertools.pairwise(hit.runs))
        for owner, run in enumerate(runs):
            gram = words(normalise(run))
            occurs = any(document[s : s + len(gram)] == gram for s in range(len(document)))
            assert occurs == (owner in {hit.owner for hit in hits}), (text, run)
        assert [hit.owner for hit in hits] == sorted({hit.owner for hit in hits})


def test_a_window_hashes_equally_at_any_position() -> None:
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


CHARACTERS = st.one_of(
    st.sampled_from(
        [
            *"ab Å\u0301\u030aßΣςσﬁ½㈱ﾊﾞがか\u3099한ᄒ\u1161İ́ǅ…—·\n你，𝕏",
            *VANISHING,
            "\u200d",
            "\u00ad",
        ]
    ),
    st.characters(exclude_categories=["Cs"]),
)


@settings(max_examples=300, deadline=None)
@given(st.text(CHARACTERS, max_size=30))
def test_spans_are_the_positions_of_the_words(text: str) -> None:
    starts, ends = word_spans(text)
    expected = words(normalise(without_vanishing(text)))
    assert len(starts) == len(ends) == len(expected) == len(word_hashes([text])[0])
    for word, start, end in zip(expected, starts.tolist(), ends.tolist(), strict=True):
        assert start < end <= len(text)
        in_span = words(normalise(without_vanishing(text[start:end])))
        same_sigmas = [part.replace("ς", "σ") for part in in_span]
        assert word.replace("ς", "σ") in same_sigmas, (word, text[start:end])
    assert (np.diff(starts) >= 0).all()


def test_long_texts_in_pieces_give_the_same_results(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Éins zwei’s\ndrei ﬁer\n\n" * 30 + "Ende"
    index = index_of(["zweis drei fier", "fier eins", "ende"], anchor=2)
    at_once = word_spans(text), index.find([text]), window_hashes(word_hashes([text])[0], 3)
    monkeypatch.setattr(hashing, "_PIECE_CHARACTERS", 7)
    monkeypatch.setattr(hashing, "_BLOCK_WORDS", 5)
    pieces = word_spans(text), index.find([text]), window_hashes(word_hashes([text])[0], 3)
    np.testing.assert_array_equal(pieces[0], at_once[0])
    np.testing.assert_array_equal(pieces[2], at_once[2])
    assert pieces[1] == at_once[1] and len(at_once[1][0]) == 2
    line = text.replace("\n", " ")
    in_pieces = word_spans(line)
    monkeypatch.undo()
    np.testing.assert_array_equal(in_pieces, word_spans(line))


def test_hits_are_ordered_by_owner_and_show_the_first_run() -> None:
    index = index_of(["五六 seven eight", "one two three", "three 四五六"], anchor=2)
    hits = index.find(["One two; three 四、五六 seven eight. One two three"])[0]
    assert [(hit.owner, hit.text, hit.runs) for hit in hits] == [
        (0, "五六 seven eight", ((4, 8),)),
        (1, "one two three", ((0, 3), (8, 11))),
        (2, "three 四五六", ((2, 6),)),
    ]


def test_apostrophes_and_zero_width_spaces_do_not_separate_words() -> None:
    index = index_of(["don't stop me now"], anchor=3)
    texts = [
        "Don\u2019t stop me, now!",
        "DONT stop me now",
        "d\u200bon't st\u200bop m\u200be now",
        "don t stop me now",
    ]
    texts.append(
        "".join(
            f"{letter}\u034f\u3164\u00ad" if letter.isalpha() else letter for letter in texts[1]
        )
    )
    assert [len(hits) for hits in index.find(texts)] == [1, 1, 1, 0, 1]
    [hit] = index.find([texts[2]])[0]
    starts, ends = word_spans(texts[2])
    assert texts[2][starts[hit.runs[0][0]] : ends[hit.runs[0][1] - 1]] == texts[2]
