"""Gopher's repetition measures (Rae et al. 2021, table A1), exactly and in time linear but for
sorting.

Words become integers, n-grams become integers of (n-1)-gram and word, so no hash can collide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def duplicates(items: Sequence[str]) -> tuple[float, int]:
    """(share of items that repeat an earlier one, characters in those repeats); (0, 0) of
    nothing.
    """
    seen: set[str] = set()
    repeats = characters = 0
    for item in items:
        if item in seen:
            repeats += 1
            characters += len(item)
        seen.add(item)
    return (repeats / len(items) if items else 0.0), characters


class NGrams:
    """The n-grams of one document's W words for growing n."""

    def __init__(self, words: Sequence[str]) -> None:
        vocabulary: dict[str, int] = {}
        self._words_W: Integers = np.array(
            [vocabulary.setdefault(w, len(vocabulary)) for w in words], np.int64
        )
        self._lengths_W: Integers = np.array([len(w) for w in words], np.int64)
        self._by_length: dict[int, Integers] = {1: self._words_W}
        self.characters = int(self._lengths_W.sum())

    def _ids(self, n: int) -> Integers:
        """One integer per n-gram, equal exactly where the words are; W - n + 1 of them (none where
        W < n).
        """
        known = max(length for length in self._by_length if length <= n)
        ids = self._by_length[known]
        for length in range(known + 1, n + 1):
            following = self._words_W[length - 1 :]
            pairs = ids[: len(following)] * (len(self._words_W) + 1) + following
            ids = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
            self._by_length[length] = ids
        return ids

    def top_share(self, n: int) -> float:
        """Characters of all occurrences of the most frequent n-gram (the longest of several) over
        those of all words.

        0 where no n-gram occurs twice. Overlapping occurrences count once per character.
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
        """Characters of words in n-grams that occurred before, over those of all words; each
        character counts once.

        First occurrences do not count (as in datatrove, whose thresholds FineWeb was made with).
        """
        ids = self._ids(n)
        repeated = np.ones(len(ids), bool)
        repeated[np.unique(ids, return_index=True)[1]] = False
        return self._covered_share(repeated, n)

    def _covered_share(self, starts: npt.NDArray[Any], n: int) -> float:
        if not self.characters or not starts.any():
            return 0.0
        change = np.zeros(len(self._lengths_W) + 1, np.int64)
        at = np.flatnonzero(starts)
        np.add.at(change, at, 1)
        np.add.at(change, at + n, -1)
        return float(self._lengths_W[np.cumsum(change)[:-1] > 0].sum() / self.characters)
