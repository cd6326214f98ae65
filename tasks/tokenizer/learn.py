"""Learn further BPE merges on words that are already segmented: always the step that saves most
tokens.

An own trainer rather than `tokenizers.BpeTrainer`, because the choice of a pair needs conditions
that one has not: no piece may join a part of a character to anything beyond it, none may have the
content of a token that is there already, and a character that the base spells in bytes competes, as
one step, with the merges. It runs in one thread, so its result cannot depend on their number.

Words lie in one flat array of symbols with -1 between them, linked so that a merge touches only its
occurrences. Every pair holding a symbol comes into being when that symbol does and only ever gets
rarer, so each pair's list of occurrences is written once, and a stale entry in the heap is seen by
its count.
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
"""Symbols at or below: a character that is not a piece yet; `FIRST_LOCKED - k` is the k-th of
`missing`.
"""


@dataclass(frozen=True)
class Step(Generic[Content]):
    """One new piece: two symbols joined, or (with `left == right == -1`) a missing character made a
    piece.

    `saved`: tokens fewer on the training words, exactly; steps are chosen by the count of the pair,
    which is more where the pair overlaps itself ("----"). Symbols count the given pieces first,
    then the steps.
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
) -> list[Step[Content]]:
    """At most `budget` steps, best first; fewer when no step saves `minimum` tokens any more.

    Args:
        words: symbols of each distinct word (negative: see `FIRST_LOCKED`, in the order of
        `missing`), and its count.
        contents: what each symbol spells.
        may_join: whether a piece of this content is wanted.
        missing: content of each missing character -> the tokens the base spends on it.
    """
    return _Learner(words, contents, may_join, missing or {}, minimum).run(budget)


class _Learner(Generic[Content]):
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
        at = 1
        for symbols, _ in words:
            self.symbol[at : at + len(symbols)] = symbols
            at += len(symbols) + 1
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
        here = np.flatnonzero((self.symbol[:-1] >= 0) & (self.symbol[1:] >= 0))
        self._add_pairs(here, (self.symbol[here] << 32) | self.symbol[here + 1])

    def run(self, budget: int) -> list[Step[Content]]:
        steps: list[Step[Content]] = []
        while self.heap and len(steps) < budget:
            negative, key = heapq.heappop(self.heap)
            saved = self.counts.get(key, 0)
            if saved != -negative:
                if saved:
                    heapq.heappush(self.heap, (-saved, key))
                continue
            del self.counts[key]
            places = self.places.pop(key)
            if key < 0:
                content, _ = self.locked[FIRST_LOCKED - key]
                steps.append(Step(content, -1, -1, saved))
                self._unlock(places, content)
            else:
                left, right = key >> 32, key & 0xFFFFFFFF
                saved = self._merge(places, left, right)
                steps.append(Step(self.contents[-1], left, right, saved))
        return steps

    def _find_locked(self) -> None:
        """Enter every missing character as a candidate that saves all its tokens but one."""
        here = np.flatnonzero(self.symbol <= FIRST_LOCKED)
        for key, places in _grouped(here, self.symbol[here]):
            content, tokens = self.locked[FIRST_LOCKED - key]
            if self.may_join(content):
                self._offer(key, places, int(self.weight[places].sum()) * (tokens - 1))

    def _offer(self, key: int, places: Ints, saved: int) -> None:
        if saved >= self.minimum:
            self.counts[key], self.places[key] = saved, places
            heapq.heappush(self.heap, (-saved, key))

    def _add_pairs(self, places: Ints, keys: Ints) -> None:
        for key, found in _grouped(places, keys):
            saved = int(self.weight[found].sum())
            if saved >= self.minimum and self.may_join(
                self.contents[key >> 32] + self.contents[key & 0xFFFFFFFF]
            ):
                self._offer(key, found, saved)

    def _unlock(self, places: Ints, content: Content) -> None:
        new = len(self.contents)
        self.contents.append(content)
        self.symbol[places] = new
        self._add_neighbours(places, new)

    def _merge(self, places: Ints, left: int, right: int) -> int:
        """Join a pair everywhere; how many tokens that saves (fewer than its count where it
        overlaps itself).
        """
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
        # A pair between two occurrences ("a b a b": b a) is met from both sides; it counts as the
        # second one's left.
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
        distinct, where = np.unique(keys, return_inverse=True)
        lost = np.zeros(len(distinct), np.int64)
        np.add.at(lost, where, weights)
        for key, amount in zip(distinct.tolist(), lost.tolist(), strict=True):
            if key in self.counts:
                self.counts[key] -= amount
                if self.counts[key] < self.minimum:
                    del self.counts[key], self.places[key]


def _grouped(places: Ints, keys: Ints) -> list[tuple[int, Ints]]:
    """Each key with its places in rising order; keys in rising order."""
    if not len(keys):
        return []
    order = np.lexsort((places, keys))
    places, keys = places[order], keys[order]
    cuts = np.flatnonzero(np.diff(keys)) + 1
    starts = np.concatenate([[0], cuts])
    return list(zip(keys[starts].tolist(), np.split(places, cuts), strict=True))


def _without_overlaps(places: Ints, following: Ints) -> Ints:
    """Of rising places of a pair of equal symbols, those that a merge from left to right takes."""
    kept, taken = [], -1
    for place, after in zip(places.tolist(), following[places].tolist(), strict=True):
        if place != taken:
            kept.append(place)
            taken = after
    return np.array(kept, np.int64)
