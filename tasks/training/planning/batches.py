"""The optimizer steps of a phase, from its batch in tokens.

A step takes as many tokens as the batch plan states at its start, rounded to a token. Rows follow
from the cumulative tokens, rounded to a row: so every prefix of steps is within half a row of its
plan, whatever the world size.

A plan may have 10^7 steps, so nothing here counts them one by one: steps of equal size form runs,
and a phase of constant batch is a single run. Only while a ramp moves does a run end, at most once
for each token by which the batch changes. Standard library only.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.training.planning.ramps import Ramp

_STRIDE = 256
"""Runs between two places from which a search may begin."""

_FAR = 2**200
"""More steps or tokens than any plan has."""


@dataclass(frozen=True)
class PlannedStep:
    """One optimizer step of a phase: `rows` rows beginning at row `first_row` of the phase."""

    index: int
    first_row: int
    rows: int
    planned_tokens: int
    """Cumulative tokens of the batch plan at the end of this step; rows follow by rounding."""


@dataclass(frozen=True)
class Batches:
    """The endless steps of a batch plan; a phase takes them until it has its rows.

    `ramp`: batch tokens by token of the phase, never less than a row of `sequence_length` tokens.
    """

    ramp: Ramp
    sequence_length: int

    def planned(self, steps: int) -> int:
        """Tokens of the batch plan after `steps` steps."""
        for index, planned, size, count in _runs(self.ramp).before(index=steps):
            if count is None or index + count >= steps:
                return planned + (steps - index) * size
        raise AssertionError  # runs never end

    def rows(self, steps: int) -> int:
        """Rows drawn after `steps` steps."""
        return (2 * self.planned(steps) + self.sequence_length) // (2 * self.sequence_length)

    def steps(self, rows: int) -> int:
        """Steps until at least `rows` rows are drawn."""
        # rows(n) >= rows where twice the planned tokens reach (2 rows - 1) lengths
        wanted = -(-(2 * rows - 1) * self.sequence_length // 2) if rows > 0 else 0
        for index, planned, size, count in _runs(self.ramp).before(planned=wanted):
            missing = max(0, -(-(wanted - planned) // size))
            if count is None or missing <= count:
                return index + missing
        raise AssertionError  # runs never end

    def take(self, rows: int, first: int = 0) -> Iterator[PlannedStep]:
        """The steps from number `first` (from 0) to the one that ends at row `rows`, which is cut
        there.
        """
        length = self.sequence_length
        done = self.rows(first)
        for start, before, size, count in _runs(self.ramp).before(index=first):
            taken = itertools.count() if count is None else range(count)
            for number in taken:
                if done >= rows:
                    return
                index, planned = start + number, before + (number + 1) * size
                if index < first:
                    continue
                upto = min(rows, (2 * planned + length) // (2 * length))
                yield PlannedStep(index, done, upto - done, planned)
                done = upto


Run = tuple[int, int, int, int | None]
"""Steps of equal size: number of the first, tokens before it, tokens of each, how many (None: all
that follow).
"""


class _Runs:
    """The runs of a batch plan, with places to begin a search from."""

    def __init__(self, ramp: Ramp) -> None:
        # On each piece, value(t) = (base + slope * (t - left)) / scale.
        self._pieces: list[tuple[int, int, int, int, int]] = []
        for (left, low), (right, high) in itertools.pairwise(ramp.knots):
            scale = low.denominator * high.denominator * (right - left)
            if scale:
                base, slope = int(low * scale), int((high - low) * scale) // (right - left)
                self._pieces.append((left, right, base, slope, scale))
        self._last = round(ramp.knots[-1][1])
        self._marks = [(0, 0)]
        self._complete = False

    def before(self, index: int = _FAR, planned: int = _FAR) -> Iterator[Run]:
        """Runs from a place at most `_STRIDE` runs before both."""
        marks = self._marks
        while not self._complete and marks[-1][0] <= index and marks[-1][1] <= planned:
            *_, last = itertools.islice(self._from(*marks[-1]), _STRIDE)
            start, tokens, size, count = last
            self._complete = count is None
            if count is not None:
                marks.append((start + count, tokens + count * size))
        place = min(
            bisect.bisect_right(marks, index, key=lambda mark: mark[0]),
            bisect.bisect_right(marks, planned, key=lambda mark: mark[1]),
        )
        return self._from(*marks[max(0, place - 1)])

    def _from(self, index: int, planned: int) -> Iterator[Run]:
        for left, right, base, slope, scale in self._pieces:
            while planned < right:
                value = base + slope * (planned - left)
                size, part = divmod(value, scale)
                if 2 * part > scale or (2 * part == scale and size % 2):  # as `round` does
                    size += 1
                count = 1
                if abs(slope) * size < scale:  # less than a token more or less a step
                    last = min(right - 1, left + _same(base, slope, scale, size, right - left))
                    count = max(1, (last - planned) // size + 1)
                yield index, planned, size, count
                index, planned = index + count, planned + count * size
        yield index, planned, self._last, None


def _same(base: int, slope: int, scale: int, size: int, width: int) -> int:
    """Tokens after the piece's beginning up to which its value certainly rounds to `size`."""
    if slope > 0:
        return (scale * (2 * size + 1) - 2 * base - 1) // (2 * slope)
    if slope < 0:
        return (2 * base - scale * (2 * size - 1) - 1) // (-2 * slope)
    return width


@functools.lru_cache(maxsize=256)
def _runs(ramp: Ramp) -> _Runs:
    return _Runs(ramp)


@functools.lru_cache(maxsize=256)
def span_of_steps(start: int, end: int, steps: int) -> int:
    """Tokens over which a batch ramp from `start` to `end` tokens moves so that it takes `steps`
    steps: the first step after them has the batch `end`, and no step before.

    The span depends on the batches, and these on the span: it is the largest number of tokens that
    `steps` steps of a ramp over just as many reach.
    """
    if start == end or not steps:
        return start * steps

    def beyond(span: int) -> int:
        if abs(end - start) < steps:  # many steps are equal
            return Batches(Ramp.between(start, end, span), 1).planned(steps) - span
        return _after(start, end, span, steps) - span

    # In continuous terms the span is steps * (end - start) / ln(end / start); beyond falls there
    # with slope -end / mean.
    mean = (end - start) / math.log(end / start)
    low, high = 1, steps * max(start, end) + 1  # reached, and not reached
    guess = min(max(round(steps * mean), low + 1), high - 1)
    while high - low > 1:
        excess = beyond(guess)
        if excess >= 0:
            low = guess
        else:
            high = guess
        move = round(excess * mean / end) or (1 if excess >= 0 else -1)
        guess += move
        if not low < guess < high:
            guess = low + 1 if move > 0 and guess <= low else (low + high) // 2
    return low


def _after(start: int, end: int, span: int, steps: int) -> int:
    """`Batches.planned` of a ramp on which hardly two steps are equal: a plain loop is quicker."""
    tokens, base, slope, scale = 0, (2 * start + 1) * span, 2 * (end - start), 2 * span
    for number in range(steps):
        if tokens >= span:
            return tokens + (steps - number) * end
        size, part = divmod(base + slope * tokens, scale)
        tokens += size - (not part and size % 2)  # halves to even, as `round` does
    return tokens
