"""Gopher's repetition measures (Rae et al. 2021, table A1), computed exactly.

1. Number the words: equal words get equal integers.
2. Number the n-grams: an n-gram is the pair (number of its first n-1 words, number of its last
   word); equal pairs get equal integers. No hashes, so no collisions. Time is that of sorting.
3. Mark the n-grams that a measure counts, and sum the lengths of the words they cover. Each word
   counts once, however many marked n-grams overlap it.

Example, n = 2: "a b a b" has words 0 1 0 1 and 2-grams 0 1 0. The last one repeats the first and
covers two of four words, so `duplicate_share(2)` is 0.5; the most frequent 2-gram "a b" covers all
four, so `top_share(2)` is 1.

Array suffix: W, words of the document. An n-gram is known by the position of its first word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def duplicates(items: Sequence[str]) -> tuple[float, int]:
    """(share of items that repeat an earlier one, characters in those repeats)."""
    seen: set[str] = set()
    repeats = characters = 0
    for item in items:
        if item in seen:
            repeats += 1
            characters += len(item)
        seen.add(item)
    return (repeats / len(items) if items else 0.0), characters


class NGrams:
    """The n-grams of one document's W words; numbers for n are built from those for n - 1."""

    def __init__(self, words: Sequence[str]) -> None:
        vocabulary: dict[str, int] = {}
        self._words_W: Integers = np.array(
            [vocabulary.setdefault(w, len(vocabulary)) for w in words], np.int64
        )
        self._lengths_W: Integers = np.array([len(w) for w in words], np.int64)
        self._by_length: dict[int, Integers] = {1: self._words_W}
        self.characters = int(self._lengths_W.sum())

    def _ids(self, n: int) -> Integers:
        """One integer per n-gram, equal only for equal words; shape (max(0, W - n + 1),)."""
        known = max(length for length in self._by_length if length <= n)
        ids = self._by_length[known]
        for length in range(known + 1, n + 1):
            following = self._words_W[length - 1 :]
            # One integer for (shorter n-gram, next word); both numbers are below W + 1.
            pairs = ids[: len(following)] * (len(self._words_W) + 1) + following
            ids = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
            self._by_length[length] = ids
        return ids

    def top_share(self, n: int) -> float:
        """Share of the words' characters covered by the most frequent n-gram.

        Of several equally frequent ones, the longest in characters. 0 if no n-gram occurs twice.
        Characters under overlapping occurrences count once.
        """
        ids = self._ids(n)
        if not len(ids):
            return 0.0
        _, first, counts = np.unique(ids, return_index=True, return_counts=True)
        most = counts.max()
        if most < 2:
            return 0.0
        spans = np.convolve(self._lengths_W, np.ones(n, np.int64), "valid")
        candidates = first[counts == most]
        top = candidates[np.argmax(spans[candidates])]
        return self._covered_share(ids == ids[top], n)

    def duplicate_share(self, n: int) -> float:
        """Share of the words' characters covered by n-grams that occurred earlier in the document.

        First occurrences do not count (as in datatrove, whose thresholds FineWeb used). Characters
        under overlapping n-grams count once.
        """
        ids = self._ids(n)
        repeated = np.ones(len(ids), bool)
        repeated[np.unique(ids, return_index=True)[1]] = False
        return self._covered_share(repeated, n)

    def _covered_share(self, starts: npt.NDArray[Any], n: int) -> float:
        if not self.characters or not starts.any():
            return 0.0
        # +1 where an n-gram begins and -1 behind its last word: the running sum is the number of
        # marked n-grams over each word.
        change = np.zeros(len(self._lengths_W) + 1, np.int64)
        first_words = np.flatnonzero(starts)
        np.add.at(change, first_words, 1)
        np.add.at(change, first_words + n, -1)
        return float(self._lengths_W[np.cumsum(change)[:-1] > 0].sum() / self.characters)
