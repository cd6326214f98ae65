"""Rows due to each category of a phase, and how many of each its sampler draws.

`sampler.py` draws the row of the category that is furthest behind what is due to it.
How many rows a category has after n draws is thus certain before any is drawn, but has no closed
form for more than two categories. It is within a known distance of what is due, though, and the
sampler forgets: from all states within that distance, it soon gets into the same one. So the end of
a phase of 10^9 rows takes some thousand draws. Standard library only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Protocol

from tasks.training.planning.ramps import Ramp

SIMULATED_ROWS = 20_000
"""Phases up to so many rows are drawn from their start."""

LONGEST = 10_000_000
"""Rows of the longest phase that is drawn from its start for this."""

STATES = 200_000
"""Draws made at most to find the state that all possible ones lead to; where that is not enough,
the phase is drawn from its start.
"""

WHOLE_WINDOWS = 16
"""Windows in which a row is looked for at which whole rows are due to all: its state is certain."""


class Quota(Protocol):
    """Rows due to each category after `rows` rows of the phase."""

    def behind(self, rows: int, drawn: Sequence[int]) -> list[int]:
        """Deficits (rows due minus rows `drawn`) per category, scaled by one positive integer."""

    def due(self, rows: int) -> list[Fraction]:
        """Rows due per category after `rows` rows, exactly."""


class RampQuota:
    """Integrals of piecewise linear shares, as integers over one common denominator."""

    def __init__(self, ramps: Sequence[Ramp], sequence_length: int) -> None:
        self._ramps = ramps
        self._length = sequence_length
        # A share that is linear in tokens has a quadratic integral: between two knots D(n) is
        # a + b n + c n^2 for n rows. Times `scale`, all coefficients are integers, so a deficit
        # costs a few integer products instead of sums of fractions.
        knots = sorted({knot for ramp in ramps for knot, _ in ramp.knots})
        exact = [[self._polynomial(ramp, left) for ramp in ramps] for left in knots]
        self._scale = math.lcm(
            *(term.denominator for piece in exact for terms in piece for term in terms)
        )
        self._pieces = [
            [tuple(int(term * self._scale) for term in terms) for terms in piece] for piece in exact
        ]
        self._edges = knots

    def _polynomial(self, ramp: Ramp, left: int) -> tuple[Fraction, Fraction, Fraction]:
        """(a, b, c) of D(n) = a + b n + c n^2, valid from token `left` to the next knot."""
        following = [knot for knot, _ in ramp.knots if knot > left]
        slope = (
            (ramp.value(following[0]) - ramp.value(left)) / (following[0] - left)
            if following
            else Fraction(0)
        )
        # In tokens t: area + share (t - left) + slope (t - left)^2 / 2. Substitute t = n * length
        # and divide by length.
        share, area = ramp.value(left), ramp.integral(left)
        a = (area - share * left + slope * left * left / 2) / self._length
        return a, share - slope * left, slope * self._length / 2

    def behind(self, rows: int, drawn: Sequence[int]) -> list[int]:
        t, piece = rows * self._length, 0
        while piece + 1 < len(self._edges) and self._edges[piece + 1] <= t:
            piece += 1
        scale = self._scale
        return [
            a + (b + c * rows) * rows - scale * d
            for (a, b, c), d in zip(self._pieces[piece], drawn, strict=True)
        ]

    def due(self, rows: int) -> list[Fraction]:
        return [ramp.integral(rows * self._length) / self._length for ramp in self._ramps]


class BucketQuota:
    """Bucket i is bin i of every category; within it, shares are its shares of rows.

    Rows that earlier phases took from a bin are missing from its bucket. After the last bucket the
    next epoch begins.
    """

    def __init__(self, bins: Sequence[Sequence[int]], taken: Sequence[int]) -> None:
        self._bins = bins
        self._taken = list(taken)
        self._buckets = max(len(rows) for rows in bins)
        self._rewind()

    def _rewind(self) -> None:
        self._bucket, self._first, self._rows = -1, 0, 0
        self._before = [0] * len(self._bins)
        self._share = [0] * len(self._bins)

    def _seek(self, rows: int) -> None:
        """Move to the bucket in which row number `rows` (from 1) lies."""
        if rows <= self._first:
            self._rewind()
        while rows > self._first + self._rows:
            self._first += self._rows
            self._before = [
                before + share for before, share in zip(self._before, self._share, strict=True)
            ]
            self._bucket += 1
            self._share = [self._left(c, self._bucket) for c in range(len(self._bins))]
            self._rows = sum(self._share)

    def _left(self, category: int, bucket: int) -> int:
        """Rows of a category in a bucket (numbered across epochs) not taken before this phase."""
        epoch, bin_ = divmod(bucket, self._buckets)
        rows = self._bins[category]
        if bin_ >= len(rows):
            return 0
        end = epoch * sum(rows) + sum(rows[: bin_ + 1])
        return min(rows[bin_], max(0, end - self._taken[category]))

    def behind(self, rows: int, drawn: Sequence[int]) -> list[int]:
        self._seek(rows)
        done = rows - self._first
        return [
            (before - d) * self._rows + share * done
            for before, share, d in zip(self._before, self._share, drawn, strict=True)
        ]

    def due(self, rows: int) -> list[Fraction]:
        self._seek(rows)
        done = Fraction(rows - self._first, self._rows)
        return [
            before + share * done for before, share in zip(self._before, self._share, strict=True)
        ]


def row_limit(rows: int, epochs: float, repeats: int = 1) -> int:
    """Rows that may be taken of a category that has `rows` rows, so that no document is read more
    than `epochs` times; a row that was begun counts. `repeats`: how often the most repeated one is
    in these rows.
    """
    return math.ceil(Fraction(str(epochs)) * rows / repeats)


def beyond(quota: Quota, rows: int, allowed: Sequence[int]) -> tuple[int, int] | None:
    """The first category of which more than `allowed` rows are among the phase's first `rows`, and
    how many are; None if there is none.
    """
    due = quota.due(rows)
    # Never a whole row ahead of what is due.
    if all(math.ceil(amount + 1) - 1 <= limit for amount, limit in zip(due, allowed, strict=True)):
        return None
    drawn = drawn_after(quota, rows, due)
    for c, (number, limit) in enumerate(zip(drawn, allowed, strict=True)):
        if number > limit:
            return c, number
    return None


def drawn_after(quota: Quota, rows: int, due: Sequence[Fraction]) -> list[int]:
    """Rows of each category among the phase's first `rows`; `due` to them by then.

    Exact, but for phases of more than `LONGEST` rows whose end depends on their beginning, where it
    is the most that each may have. Such are three or more categories whose shares stay at simple
    fractions (thirds) after they moved.
    """
    if all(amount.denominator == 1 for amount in due):
        return [int(amount) for amount in due]  # none ahead by a row, so none behind
    if len(due) == 2:
        first = math.floor(due[0] + Fraction(1, 2))
        return [first, rows - first]
    window = 64
    while rows > SIMULATED_ROWS and window < rows:
        begin = rows - window
        whole = _whole(quota, rows - 1, max(0, rows - window * WHOLE_WINDOWS))
        if whole is not None:
            (end,) = _drawn_on(quota, {whole[1]}, whole[0], rows)
            return list(end)
        states = set(itertools.islice(_possible(quota.due(begin), begin), STATES // window + 1))
        if len(states) > STATES // window:
            break
        states = _drawn_on(quota, states, begin, rows)
        if len(states) == 1:
            return list(next(iter(states)))
        window *= 4
    if rows > LONGEST:
        return [math.ceil(amount + 1) - 1 for amount in due]
    (end,) = _drawn_on(quota, {(0,) * len(due)}, 0, rows)
    return list(end)


def _whole(quota: Quota, last: int, first: int) -> tuple[int, tuple[int, ...]] | None:
    """The last row of those at which whole rows are due to every category, and these rows."""
    for rows in range(last, first, -1):
        due = quota.due(rows)
        if all(amount.denominator == 1 for amount in due):
            return rows, tuple(map(int, due))
    return None


def _drawn_on(
    quota: Quota, states: set[tuple[int, ...]], begin: int, end: int
) -> set[tuple[int, ...]]:
    """The states at row `end` that follow from those at row `begin`."""
    for row in range(begin, end):
        following = set()
        for state in states:
            behind = quota.behind(row + 1, state)
            c = behind.index(max(behind))  # ties go to the first category by name
            following.add((*state[:c], state[c] + 1, *state[c + 1 :]))
        states = following
    return states


def _possible(due: Sequence[Fraction], rows: int) -> Iterator[tuple[int, ...]]:
    """All rows by category that a sampler may have drawn by then."""
    behind = _most_behind(len(due))
    choices = [
        range(max(0, math.ceil(amount - behind)), math.ceil(amount + 1)) for amount in due[:-1]
    ]
    last = range(max(0, math.ceil(due[-1] - behind)), math.ceil(due[-1] + 1))
    for state in itertools.product(*choices):
        if rows - sum(state) in last:
            yield (*state, rows - sum(state))


def _most_behind(categories: int) -> Fraction:
    """Rows that a category is behind at most; see `tasks.training.planning.sampler`."""
    return sum((Fraction(1, i) for i in range(2, categories + 1)), Fraction(0))
