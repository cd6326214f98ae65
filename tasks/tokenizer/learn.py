"""Continue BPE (Sennrich et al. 2016, arXiv:1508.07909) on words that a base has segmented.

1. Lay all distinct words out in one flat array of symbols, with a gap before and after each.
2. Count every pair of neighbours, weighted by how often its word occurs, and note its places.
   Pairs that `may_join` refuses, or that save fewer than `minimum` tokens, are left out.
3. Take the pair with the highest count; of equals, the one with the smallest key.
4. Give the joined piece the next symbol, write it at the pair's left places, mark the right places
   dead and link around them.
5. Subtract what the neighbouring pairs lost; count and note the pairs that the new symbol forms.
6. Repeat from 3 until `budget` steps are taken or no pair is left.

A missing character (one that the base spells in b byte tokens) is a candidate in the same queue: as
one symbol instead of b it saves count * (b - 1) tokens. Until it is chosen it forms no pair.

Arrays, all indexed by place (position in the flat array):
    symbol      which symbol stands there; GAP between words, DEAD where a merge removed it, and
                FIRST_LOCKED - k for the k-th missing character
    weight      occurrences of the word that the place belongs to
    following   the next place to the right that is not dead; `previous`: to the left
By key (left << 32 | right for a pair, the negative symbol itself for a missing character):
    counts      tokens that joining the key would save now
    places      the places of its occurrences, in rising order, when the key appeared
    heap        (-count when pushed, key)

All pairs with a symbol appear when that symbol does, and afterwards only become rarer. So `places`
is written once per key and only filtered later, and a heap entry is stale exactly when its count
differs from `counts`; it is then pushed again with the current one.

Example: "low" 5 times and "lot" twice, with the symbols l o w t = 0 1 2 3.
    symbol   -1  0  1  2 -1  0  1  3 -1      counts: lo 7, ow 5, ot 2
    weight    0  5  5  5  5  2  2  2  2
    Step 1 joins l and o to symbol 4 and saves 7 tokens; "ow" and "ot" are gone.
    symbol   -1  4 -2  2 -1  4 -2  3 -1      counts: lo+w 5, lo+t 2
    Step 2 joins lo and w and saves 5; step 3 joins lo and t and saves 2.

`tokenizers.BpeTrainer` cannot do this: here no piece may join part of a character to anything
outside it, none may repeat a token of the base, and missing characters compete with merges. One
thread, so the result does not depend on the number of threads.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Content = TypeVar("Content", str, bytes)
Ints = NDArray[np.int64]

GAP = -1
DEAD = -2
FIRST_LOCKED = -10
"""Symbols from here down are missing characters: `FIRST_LOCKED - k` is the k-th of `missing`."""


@dataclass(frozen=True)
class LearnedStep(Generic[Content]):
    """One new piece: two symbols joined, or a missing character (`left == right == -1`).

    `saved`: the exact number of tokens saved on the training words. Steps are chosen by the pair's
    count, which is higher where the pair overlaps itself ("----"). Symbols are numbered: the given
    contents first, then the steps.
    """

    content: Content
    left: int
    right: int
    saved: int


def learn(
    words: Sequence[tuple[Sequence[int], int]],
    contents: Sequence[Content],
    budget: int,
    *,
    may_join: Callable[[Content], bool],
    missing: Mapping[Content, int] | None = None,
    minimum: int = 2,
) -> list[LearnedStep[Content]]:
    """At most `budget` steps, best first; fewer when no step saves `minimum` tokens any more.

    Args:
        words: symbols of each distinct word, and how often it occurs; negative symbols are missing
            characters, see `FIRST_LOCKED`.
        contents: what each symbol spells.
        may_join: whether a piece of this content is wanted.
        missing: each missing character -> number of tokens the base spends on it.
    """
    return _Learner(words, contents, may_join, missing or {}, minimum).run(budget)


class _Learner(Generic[Content]):
    """State of one learning run; the module's docstring describes the arrays."""

    def __init__(
        self,
        words: Sequence[tuple[Sequence[int], int]],
        contents: Sequence[Content],
        may_join: Callable[[Content], bool],
        missing: Mapping[Content, int],
        minimum: int,
    ) -> None:
        self.contents: list[Content] = list(contents)
        self.may_join: Callable[[Content], bool] = may_join
        self.minimum = minimum
        sizes = np.fromiter((len(symbols) + 1 for symbols, _ in words), np.int64, len(words))
        total = int(sizes.sum()) + 1
        self.symbol = np.full(total, GAP, np.int64)
        start = 1
        for symbols, _ in words:
            self.symbol[start : start + len(symbols)] = symbols
            start += len(symbols) + 1
        self.weight = np.zeros(total, np.int64)
        self.weight[1:] = np.repeat(
            np.fromiter((count for _, count in words), np.int64, len(words)), sizes
        )
        self.following = np.arange(1, total + 1, dtype=np.int64)
        self.previous = np.arange(-1, total - 1, dtype=np.int64)
        self.counts: dict[int, int] = {}
        self.places: dict[int, Ints] = {}
        self.heap: list[tuple[int, int]] = []
        self.locked: dict[int, tuple[Content, int]] = dict(enumerate(missing.items()))
        self._find_locked()
        lefts = np.flatnonzero((self.symbol[:-1] >= 0) & (self.symbol[1:] >= 0))
        self._add_pairs(lefts, (self.symbol[lefts] << 32) | self.symbol[lefts + 1])

    def run(self, budget: int) -> list[LearnedStep[Content]]:
        """Take up to `budget` steps."""
        steps: list[LearnedStep[Content]] = []
        while self.heap and len(steps) < budget:
            negative, key = heapq.heappop(self.heap)
            saved = self.counts.get(key, 0)
            if saved != -negative:  # stale: the pair became rarer after it was pushed
                if saved:
                    heapq.heappush(self.heap, (-saved, key))
                continue
            del self.counts[key]
            places = self.places.pop(key)
            if key < 0:
                content, _ = self.locked[FIRST_LOCKED - key]
                steps.append(LearnedStep(content, -1, -1, saved))
                self._unlock(places, content)
            else:
                left, right = key >> 32, key & 0xFFFFFFFF
                saved = self._merge(places, left, right)
                steps.append(LearnedStep(self.contents[-1], left, right, saved))
        return steps

    def _find_locked(self) -> None:
        """Enter every missing character as a candidate that saves all its tokens but one."""
        locked = np.flatnonzero(self.symbol <= FIRST_LOCKED)
        for key, places in _grouped(locked, self.symbol[locked]):
            content, tokens = self.locked[FIRST_LOCKED - key]
            if self.may_join(content):
                self._offer(key, places, int(self.weight[places].sum()) * (tokens - 1))

    def _offer(self, key: int, places: Ints, saved: int) -> None:
        """Enter a candidate if it saves enough."""
        if saved >= self.minimum:
            self.counts[key], self.places[key] = saved, places
            heapq.heappush(self.heap, (-saved, key))

    def _add_pairs(self, places: Ints, keys: Ints) -> None:
        """Enter new pairs, given the left place and the key of each occurrence."""
        for key, occurrences in _grouped(places, keys):
            saved = int(self.weight[occurrences].sum())
            if saved >= self.minimum and self.may_join(
                self.contents[key >> 32] + self.contents[key & 0xFFFFFFFF]
            ):
                self._offer(key, occurrences, saved)

    def _unlock(self, places: Ints, content: Content) -> None:
        """Make a missing character a symbol of its own, which can then form pairs."""
        new = len(self.contents)
        self.contents.append(content)
        self.symbol[places] = new
        self._add_neighbours(places, new)

    def _merge(self, places: Ints, left: int, right: int) -> int:
        """Join a pair everywhere; returns the tokens saved.

        These are fewer than the pair's count where it overlaps itself: "aaa" holds "aa" twice, but
        can be joined only once.
        """
        # Places were noted when the pair appeared; other merges have since used up some of them.
        first = places[self.symbol[places] == left]
        first = first[self.symbol[self.following[first]] == right]
        if left == right:
            first = _without_overlaps(first, self.following)
        second = self.following[first]
        before, after = self.previous[first], self.following[second]
        weight = self.weight[first]
        old_before, old_after = self.symbol[before], self.symbol[after]
        new = len(self.contents)
        self.contents.append(self.contents[left] + self.contents[right])
        self.symbol[first] = new
        self.symbol[second] = DEAD
        # The pair between two adjacent occurrences (b a in "a b a b") is seen from both sides;
        # count it once, as the left neighbour of the second.
        lost_left, lost_right = old_before >= 0, (old_after >= 0) & (self.symbol[after] != new)
        self._reduce(
            np.concatenate(
                [(old_before[lost_left] << 32) | left, (right << 32) | old_after[lost_right]]
            ),
            np.concatenate([weight[lost_left], weight[lost_right]]),
        )
        self.following[first] = after
        self.previous[after] = first
        self._add_neighbours(first, new)
        return int(weight.sum())

    def _add_neighbours(self, places: Ints, new: int) -> None:
        """Enter the pairs that the new symbol at `places` forms with its neighbours."""
        # Where two new symbols are adjacent, the pair counts as the right neighbour of the first.
        before, after = self.previous[places], self.symbol[self.following[places]]
        has_left = (self.symbol[before] >= 0) & (self.symbol[before] != new)
        has_right = after >= 0
        self._add_pairs(
            np.concatenate([before[has_left], places[has_right]]),
            np.concatenate(
                [(self.symbol[before[has_left]] << 32) | new, (new << 32) | after[has_right]]
            ),
        )

    def _reduce(self, keys: Ints, weights: Ints) -> None:
        """Subtract lost occurrences from the counts; drop candidates that fall below `minimum`."""
        distinct, where = np.unique(keys, return_inverse=True)
        lost = np.zeros(len(distinct), np.int64)
        np.add.at(lost, where, weights)
        for key, amount in zip(distinct.tolist(), lost.tolist(), strict=True):
            if key in self.counts:
                self.counts[key] -= amount
                if self.counts[key] < self.minimum:
                    del self.counts[key], self.places[key]


def _grouped(places: Ints, keys: Ints) -> list[tuple[int, Ints]]:
    """Each key with its places, both in rising order."""
    if not len(keys):
        return []
    order = np.lexsort((places, keys))
    places, keys = places[order], keys[order]
    cuts = np.flatnonzero(np.diff(keys)) + 1
    starts = np.concatenate([[0], cuts])
    return list(zip(keys[starts].tolist(), np.split(places, cuts), strict=True))


def _without_overlaps(places: Ints, following: Ints) -> Ints:
    """The places (rising) of a pair of equal symbols that a left-to-right merge takes."""
    kept, taken = [], -1
    for place, after in zip(places.tolist(), following[places].tolist(), strict=True):
        if place != taken:
            kept.append(place)
            taken = after
    return np.array(kept, np.int64)
