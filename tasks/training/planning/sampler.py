"""Deficit sampling: the next row as a pure function of the plan and the number of rows before it.

For row n + 1 (n rows of the phase are drawn):

1. For every category c compute D_c(n + 1), the rows due to it by then: the integral of its share
   over the phase's first n + 1 rows.
2. Draw from the category with the largest deficit D_c(n + 1) - d_c; of equals, the first by name.
3. Within a category, rows come from bin 0, then bin 1, and so on, each bin in an order permuted by
   (seed, category, bin, epoch). After the last bin the next epoch begins.

Symbols: n rows drawn in this phase; d_c of them from category c (`drawn`); s_c(t) its share at
token t of the phase; L the row length; D_c(n) = (1 / L) * integral of s_c from 0 to n * L (`due`).
All of it is exact: fractions, or integers over a common denominator.

Example with shares a 1/2, b 1/3, c 1/6:
    row        1    2    3    4    5    6
    D_a      1/2    1  3/2    2  5/2    3
    D_b      1/3  2/3    1  4/3  5/3    2
    D_c      1/6  1/3  1/2  2/3  5/6    1
    drawn      a    b    a    c    b    a      (row 2: deficits 0, 2/3 and 1/3, so b)

So proportions hold at every prefix, however shares move, and nothing is drawn at random. The state
is n and the d_c: any world size and micro-batch continue it exactly. Needs numpy only.

Accuracy: a category is never a whole row ahead of D_c. With up to three categories it is at most
one row behind; with k, at most H(k) - 1 = 1/2 + 1/3 + ... + 1/k rows. Tests assert this. It is the
problem of fair apportionment at every prefix (the chairman assignment problem, Tijdeman 1980).
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.training.planning.quotas import BucketQuota, Quota, RampQuota, beyond, row_limit
from tasks.training.planning.ramps import Ramp
from tasks.training.recipe.sections import DEFAULT_EPOCHS, MaxEpochs, epochs_limit


class DataExhausted(Exception):
    """A category would be repeated more often than `max_epochs` allows, or has no rows."""


class Row(NamedTuple):
    """One row of the data: `number` counts from the start of the category's bin 0."""

    category: str
    number: int
    epoch: int


def permutation(
    rows: int, seed: int, category: str, bin_: int, epoch: int
) -> npt.NDArray[np.int64]:
    """The order of a bin's rows in an epoch: argsort of splitmix64 keys (Steele et al. 2014).

    Not `numpy.random`, whose streams may change between versions (NEP 19).
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
class SamplerState:
    """Progress of the sampler, kept in checkpoints and in a phase's artifact."""

    rows: int
    """Rows drawn in this phase."""
    drawn: dict[str, int]
    """Rows drawn in this phase per category."""
    taken: dict[str, int]
    """Rows drawn per category since the data was last restarted, over all phases."""


class Sampler:
    """Draws the rows of one phase, in order.

    Args:
        bins: category -> rows of each of its bins.
        mixture: the plan's mixture; a category with a share must have rows.
        taken: rows per category that earlier phases took (`data: continue`); empty starts over.
        repeats: category -> copies of its most repeated document in the bins, where more than one;
            `max_epochs` limits how often a document is read, copies counted.
    """

    def __init__(
        self,
        bins: Mapping[str, Sequence[int]],
        mixture: Mapping[str, Ramp] | Literal["buckets"],
        *,
        sequence_length: int,
        seed: int,
        max_epochs: MaxEpochs = DEFAULT_EPOCHS,
        taken: Mapping[str, int] | None = None,
        repeats: Mapping[str, int] | None = None,
    ) -> None:
        self.categories = sorted(bins) if mixture == "buckets" else sorted(mixture)
        for category in self.categories:
            if category not in bins or not sum(bins[category]):
                raise DataExhausted(
                    f"category {category!r} of the mixture has no rows (bins: "
                    f"{', '.join(sorted(bins)) or 'none'}); remove it from the mixture or select "
                    "documents for it"
                )
        self._bins = [list(bins[category]) for category in self.categories]
        self._rows = [sum(rows) for rows in self._bins]
        self._repeats = dict(repeats or {})
        self._limits = [
            row_limit(rows, epochs_limit(max_epochs, category), self._repeats.get(category, 1))
            for category, rows in zip(self.categories, self._rows, strict=True)
        ]
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
        # Each category's current bin: (bin, epoch, permuted rows of the bin).
        self._orders = [(-1, -1, np.empty(0, np.int64)) for _ in self.categories]

    def check(self, rows: int) -> None:
        """Refuse a phase of `rows` rows that would repeat a category too often, before it begins.

        Raises:
            DataExhausted: says how many epochs it would take.
        """
        allowed = [
            max(0, limit - taken)  # of a category that is not drawn, no row is too many
            for limit, taken in zip(self._limits, self._taken, strict=True)
        ]
        exceeded = beyond(self._quota, rows, allowed)
        if exceeded is not None:
            c, drawn = exceeded
            self._refuse(c, drawn + self._taken[c])

    def _refuse(self, c: int, wanted: int) -> None:
        category = self.categories[c]
        epochs, copies = wanted / self._rows[c], self._repeats.get(category, 1)
        counted = (
            f"{epochs:.2f} epochs"
            if copies == 1
            else f"{epochs:.2f} passes, in which documents that are there {copies} times are read "
            f"{epochs * copies:.2f} times"
        )
        raise DataExhausted(
            f"category {category!r} has {self._rows[c]:,} rows; up to the end of this "
            f"phase {wanted:,} are needed, that is {counted}, and "
            f"max_epochs is {epochs_limit(self._max_epochs, category):g}. Lower its share, shorten "
            "the phase, raise training.max_epochs, or add data"
        )

    def due(self) -> dict[str, float]:
        """Rows that the plan gives each category of those drawn so far (D_c above)."""
        due = self._quota.due(self._count)
        return {category: float(rows) for category, rows in zip(self.categories, due, strict=True)}

    def draw(self, rows: int) -> list[Row]:
        """The next `rows` rows."""
        return [self._next() for _ in range(rows)]

    def _next(self) -> Row:
        behind = self._quota.behind(self._count + 1, self._drawn)
        c = behind.index(max(behind))  # ties go to the first category by name
        # The category's position since the data was restarted: epoch, then bin, then row in it.
        cursor = self._taken[c] + self._drawn[c]
        if cursor >= self._limits[c]:
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
    def state(self) -> SamplerState:
        """A copy of the current state."""
        drawn = dict(zip(self.categories, self._drawn, strict=True))
        taken = {
            category: self._start.get(category, 0) + drawn.get(category, 0)
            for category in self._start | drawn
        }
        return SamplerState(self._count, drawn, dict(sorted(taken.items())))

    @property
    def epochs(self) -> dict[str, float]:
        """Times that each category's rows were taken since the data was last restarted."""
        taken = self.state.taken
        return {
            category: taken[category] / rows
            for category, rows in zip(self.categories, self._rows, strict=True)
        }

    @property
    def readings(self) -> dict[str, float]:
        """Times that the most repeated document of each category was read since then, where any is
        repeated: what `max_epochs` limits.
        """
        epochs = self.epochs
        return {
            category: epochs[category] * copies
            for category, copies in sorted(self._repeats.items())
            if copies > 1 and category in epochs
        }

    def restore(self, rows: int, drawn: Mapping[str, int]) -> None:
        """Set the sampler to the state of a checkpoint."""
        if sorted(drawn) != self.categories or sum(drawn.values()) != rows:
            raise ValueError(
                f"sampler state {dict(drawn)} after {rows} rows does not match the categories "
                f"{self.categories}; restart this phase"
            )
        self._count, self._drawn = rows, [drawn[category] for category in self.categories]


def deal(rows: Sequence[Row], world_size: int, rank: int) -> list[Row | None]:
    """A rank's rows of a step: row i goes to rank i mod `world_size`.

    None, a fully masked row, fills up ranks that would get fewer rows than others.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} is not in a world of {world_size}")
    each = -(-len(rows) // world_size)
    mine: list[Row | None] = list(rows[rank::world_size])
    return mine + [None] * (each - len(mine))


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """Number of rows by category, sorted."""
    return dict(sorted(Counter(row.category for row in rows).items()))
