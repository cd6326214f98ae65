"""Which row comes next: a pure function of the plan and of how many rows came before.

The next row's category is the one furthest behind its integral of ratio, so proportions hold at
every prefix, however the ratio moves, without a random draw. A category's rows come bin 0, bin 1,
..., each bin in an order permuted by (seed, category, bin, epoch); after the last bin the next
epoch begins. The state is the row counter and the draws per category: any world size or micro-batch
continues it exactly. Needs numpy only.

How exact: a category is never ahead of its integral by as much as one row. Behind, it stays within
one row for up to three categories, and within H(k) - 1 rows (1/2 + 1/3 + ... + 1/k) for k of them;
tests hold this.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tasks.training.plan import Ramp


class DataExhausted(Exception):
    """A category would be repeated more often than `max_epochs` allows; says which and what to
    change.
    """


class Row(NamedTuple):
    """One row of the data: `number` counts from the start of the category's bin 0."""

    category: str
    number: int
    epoch: int


class Quota(Protocol):
    """How far each category is behind after `rows` rows of the phase."""

    def behind(self, rows: int, drawn: Sequence[int]) -> list[int]:
        """Rows due minus rows `drawn` per category, times one positive number common to all."""

    def due(self, rows: int) -> list[Fraction]:
        """Rows due per category after `rows` rows."""


class RampQuota:
    """Integrals of piecewise linear shares, in integers over one common denominator."""

    def __init__(self, ramps: Sequence[Ramp], sequence_length: int) -> None:
        self._ramps = ramps
        self._length = sequence_length
        # Between knots the integral is a + b n + c n^2 in rows n; all coefficients times `scale`
        # are whole.
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
        """Coefficients of the integral in rows, valid from token `left` to the next knot of any
        ramp.
        """
        following = [knot for knot, _ in ramp.knots if knot > left]
        slope = (
            (ramp.value(following[0]) - ramp.value(left)) / (following[0] - left)
            if following
            else Fraction(0)
        )
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
    """Bucket i is bin i of every category; while it is consumed, ratios are its row shares.

    What earlier phases took from a bin is missing from its bucket. After the last bucket the next
    epoch begins.
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
        """Rows of a category in bucket number `bucket` (counted over epochs) that were not taken
        before the phase.
        """
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


def permutation(
    rows: int, seed: int, category: str, bin_: int, epoch: int
) -> npt.NDArray[np.int64]:
    """The order of a bin's rows in an epoch: argsort of splitmix64 (Steele et al. 2014) keys.

    Our own rather than `numpy.random`, whose streams may change between versions (NEP 19).
    """
    name = f"{seed}/{bin_}/{epoch}/{category}".encode()
    key = np.frombuffer(hashlib.blake2b(name, digest_size=8).digest(), dtype="<u8")[0]
    with np.errstate(over="ignore"):
        x = key + np.arange(1, rows + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return np.argsort(x, kind="stable")


@dataclass
class State:
    """Where the sampler stands; what a checkpoint and a phase's artifact hold."""

    rows: int
    """Rows drawn in this phase."""
    drawn: dict[str, int]
    """Rows drawn in this phase per category."""
    taken: dict[str, int]
    """Rows drawn since the data was last restarted, over all phases, per category."""


class Sampler:
    """Draws the rows of one phase, in order.

    Args:
        bins: category -> rows of each of its bins.
        mixture: the plan's mixture; a category with a share must have rows.
        taken: rows per category that earlier phases took (`data: continue`), empty to begin at the
        start.
    """

    def __init__(
        self,
        bins: Mapping[str, Sequence[int]],
        mixture: Mapping[str, Ramp] | Literal["buckets"],
        *,
        sequence_length: int,
        seed: int,
        max_epochs: float = 4,
        taken: Mapping[str, int] | None = None,
    ) -> None:
        self.categories = sorted(bins) if mixture == "buckets" else sorted(mixture)
        for category in self.categories:
            if category not in bins or not sum(bins[category]):
                raise DataExhausted(
                    f"category {category!r} of the mixture has no rows (bins: "
                    f"{', '.join(sorted(bins)) or 'none'}); take it out of the mixture or select "
                    "documents for it"
                )
        self._bins = [list(bins[category]) for category in self.categories]
        self._rows = [sum(rows) for rows in self._bins]
        self._seed, self._max_epochs = seed, max_epochs
        self._start = dict(taken or {})
        self._taken = [self._start.get(category, 0) for category in self.categories]
        self._quota: Quota = (
            BucketQuota(self._bins, self._taken)
            if mixture == "buckets"
            else RampQuota([mixture[category] for category in self.categories], sequence_length)
        )
        self._drawn = [0] * len(self.categories)
        self._count = 0
        self._ends = [list(itertools.accumulate(rows)) for rows in self._bins]
        # The order of the bin that each category is in: (bin, epoch, rows of the bin in order).
        self._orders = [(-1, -1, np.empty(0, np.int64)) for _ in self.categories]

    def check(self, rows: int) -> None:
        """Refuse a phase of `rows` rows that would repeat a category too often, before it begins.

        Raises:
            DataExhausted: says how many epochs it would take.
        """
        for c, due in enumerate(self._quota.due(rows)):
            if math.floor(due) + self._taken[c] > self._max_epochs * self._rows[c]:
                self._refuse(c, math.floor(due) + self._taken[c])

    def _refuse(self, c: int, wanted: int) -> None:
        raise DataExhausted(
            f"category {self.categories[c]!r} has {self._rows[c]:,} rows; this phase needs "
            f"{wanted:,} of them with what came before, that is {wanted / self._rows[c]:.2f} "
            f"epochs, and max_epochs is {self._max_epochs:g}. Lower its share, shorten the phase, "
            "raise training.max_epochs, or add data"
        )

    def draw(self, rows: int) -> list[Row]:
        """The next `rows` rows."""
        return [self._next() for _ in range(rows)]

    def _next(self) -> Row:
        behind = self._quota.behind(self._count + 1, self._drawn)
        c = behind.index(max(behind))  # ties go to the first category by name
        cursor = self._taken[c] + self._drawn[c]
        if cursor >= self._max_epochs * self._rows[c]:
            self._refuse(c, cursor + 1)
        self._count += 1
        self._drawn[c] += 1
        epoch, place = divmod(cursor, self._rows[c])
        bin_ = bisect.bisect_right(self._ends[c], place)
        first = self._ends[c][bin_] - self._bins[c][bin_]
        if self._orders[c][:2] != (bin_, epoch):
            order = permutation(self._bins[c][bin_], self._seed, self.categories[c], bin_, epoch)
            self._orders[c] = (bin_, epoch, order)
        return Row(self.categories[c], first + int(self._orders[c][2][place - first]), epoch)

    @property
    def state(self) -> State:
        """The state now (a copy)."""
        drawn = dict(zip(self.categories, self._drawn, strict=True))
        taken = {
            category: self._start.get(category, 0) + drawn.get(category, 0)
            for category in self._start | drawn
        }
        return State(self._count, drawn, dict(sorted(taken.items())))

    def restore(self, rows: int, drawn: Mapping[str, int]) -> None:
        """Go to where a checkpoint stood."""
        if sorted(drawn) != self.categories or sum(drawn.values()) != rows:
            raise ValueError(
                f"sampler state {dict(drawn)} after {rows} rows is not of categories "
                f"{self.categories}"
            )
        self._count, self._drawn = rows, [drawn[category] for category in self.categories]


def deal(rows: Sequence[Row], world_size: int, rank: int) -> list[Row | None]:
    """A rank's part of a step: row i goes to rank i mod `world_size`; None pads ragged ranks (a
    fully masked row).
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} is not in a world of {world_size}")
    each = -(-len(rows) // world_size)
    mine: list[Row | None] = list(rows[rank::world_size])
    return mine + [None] * (each - len(mine))


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """Rows per category, by category."""
    found: dict[str, int] = {}
    for row in rows:
        found[row.category] = found.get(row.category, 0) + 1
    return dict(sorted(found.items()))
