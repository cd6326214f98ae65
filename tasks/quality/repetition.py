"""Gopher's repetition measures (Rae et al. 2021, table A1), computed exactly.

As datatrove counts them, with whose counts FineWeb's and FineWeb-2's limits were chosen:

1. Number the words: equal words have equal integers (`tasks.quality.words`).
2. Number the n-grams by `repetition_kernel`: an n-gram is the pair (number of its first n - 1
   words, last word), looked up in a table of pairs. No n-gram is known by its hash alone, so there
   are no collisions. Time is linear in the words for each n.
3. `top`: characters of the most frequent n-gram times its occurrences, overlapping ones too.
   `duplicates`: characters of n-grams that occurred before, read from left to right; behind such a
   repeat the reading goes on after its last word, so that no character counts twice.

Example, n = 2: "a b a b a" has the 2-grams ab, ba, ab, ba. The most frequent one is "a b" (the
first of two equally frequent): 3 characters with its space, twice, hence 6. Read from left to
right, ab and ba are new, the second ab is a repeat (2 characters, without spaces), and behind it
only "a" is left: 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tasks.quality.repetition_kernel import next_n_grams

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
    """The n-grams of one document's W words, given as numbers and lengths in characters.

    `spaced`: the words of an n-gram are joined by spaces, which count for `top`.
    """

    def __init__(self, words_W: Integers, lengths_W: Integers, spaced: bool = True) -> None:
        self._words_W = words_W
        self._ends_W: Integers = np.zeros(len(words_W) + 1, np.int64)
        np.cumsum(lengths_W, out=self._ends_W[1:])
        self._spaced = spaced
        self._numbers = np.ascontiguousarray(words_W)
        self._measured: list[tuple[int, int]] = [(0, 0)]  # n = 1 is not asked for

    def _measure(self, n: int) -> tuple[int, int]:
        """(characters of the most frequent n-gram, characters of repeated ones)."""
        if n < 2:
            raise ValueError(f"n-grams of {n} words cannot be measured; n is at least 2")
        while len(self._measured) < n:
            length = len(self._measured) + 1
            self._numbers, top, repeated = next_n_grams(
                self._numbers,
                self._words_W,
                self._ends_W,
                length,
                length - 1 if self._spaced else 0,
            )
            self._measured.append((top, repeated))
        return self._measured[n - 1]

    def top(self, n: int) -> int:
        """Characters of the most frequent n-gram, in all its occurrences; 0 if none occurs twice.

        Of several equally frequent ones, the first in the document.
        """
        return self._measure(n)[0]

    def duplicates(self, n: int) -> int:
        """Characters of n-grams that occurred earlier in the document; each counts once."""
        return self._measure(n)[1]
