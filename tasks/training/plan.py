"""The training plan: a pure function of tokens consumed.

`TrainingPlan.at(t)` gives learning rate, batch, mixture and trainable set after `t` tokens of the
whole run; `TrainingPlan.steps()` gives the steps of one phase. Nothing here depends on tensors,
world size or wall clock, so every rank, every resumed run and `puna plan` compute the same. Tokens
consumed are rows x row length, padding and ignored prompts included.

Shares and batches are exact fractions, not floats: a mixture sums to exactly 1 at every token, and
a row's category does not depend on rounding. Standard library only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from tasks.training.durations import Duration

ScheduleKind = Literal["cosine", "wsd", "linear", "constant"]
Trainable = Literal["all", "embeddings", "new-rows"]

_UNKNOWN = 2**62
"""Placeholder for the end of a phase whose length is not known yet."""


class PlanError(ValueError):
    """A plan that cannot be carried out; names the value, the limit and the next action."""


@dataclass(frozen=True)
class Ramp:
    """A value that is linear between knots (token of the phase, value) and constant after the last.

    The first knot is at token 0.
    """

    knots: tuple[tuple[int, Fraction], ...]

    @classmethod
    def constant(cls, value: Fraction | int) -> Ramp:
        """A constant value."""
        return cls(((0, Fraction(value)),))

    @classmethod
    def between(cls, start: Fraction | int, end: Fraction | int, over: int) -> Ramp:
        """From `start` to `end` over the first `over` tokens."""
        if start == end:
            return cls.constant(end)
        return cls(((0, Fraction(start)), (over, Fraction(end))))

    @property
    def moves(self) -> bool:
        """Whether the value changes at all."""
        return len(self.knots) > 1

    def value(self, t: int) -> Fraction:
        """The value after `t` tokens of the phase."""
        for (left, low), (right, high) in itertools.pairwise(self.knots):
            if t < right:
                return low + (high - low) * Fraction(t - left, right - left)
        return self.knots[-1][1]

    def integral(self, t: int) -> Fraction:
        """The integral of the value over the phase's first `t` tokens."""
        area = Fraction(0)
        for (left, low), (right, high) in itertools.pairwise(self.knots):
            if t < right:
                return area + (low + self.value(t)) * (t - left) / 2
            area += (low + high) * (right - left) / 2
        last, value = self.knots[-1]
        return area + value * (t - last)


@dataclass(frozen=True)
class Schedule:
    """Learning rate by tokens. `total` and `warmup` count from the schedule's own origin.

    cosine and linear fall from `peak` at the end of warm-up to `peak * final_ratio` at `total`; wsd
    (warm-up, stable, decay: Hu et al. 2024, arXiv:2404.06395) stays at `peak` and falls linearly
    over the last `decay` of `total`; constant stays at `peak`.
    """

    kind: ScheduleKind
    peak: float
    warmup: int
    total: int
    final_ratio: float
    decay: float = 0.1

    def lr(self, t: int) -> float:
        """The learning rate after `t` tokens; after `total`, the final one."""
        if t < self.warmup:
            return self.peak * t / self.warmup
        if self.kind == "constant":
            return self.peak
        begin = (
            self.warmup
            if self.kind != "wsd"
            else max(self.warmup, round(self.total * (1 - self.decay)))
        )
        done = min(1.0, (t - begin) / max(1, self.total - begin)) if t > begin else 0.0
        fallen = (1 - math.cos(math.pi * done)) / 2 if self.kind == "cosine" else done
        return self.peak * (1 - (1 - self.final_ratio) * fallen)


@dataclass(frozen=True)
class PlanPoint:
    """The plan's values at one token."""

    lr: float
    batch_tokens: int
    mixture: dict[str, float] | Literal["buckets"]
    sequence_length: int
    trainable: Trainable


@dataclass(frozen=True)
class PlannedStep:
    """One optimizer step of a phase: `rows` rows beginning at row `first_row` of the phase."""

    index: int
    first_row: int
    rows: int
    planned_tokens: int
    """Cumulative tokens of the batch plan at the end of this step; rows follow by rounding."""


def batch_rows(batch: Ramp, sequence_length: int, phase_rows: int | None) -> Iterator[PlannedStep]:
    """Steps of a phase: rows drawn after each are the cumulative planned tokens, rounded to rows.

    The last step is cut at `phase_rows`; without it the steps never end.
    """
    index, rows, planned = 0, 0, 0
    while phase_rows is None or rows < phase_rows:
        planned += max(1, round(batch.value(planned)))
        upto = max(rows + 1, (2 * planned + sequence_length) // (2 * sequence_length))
        if phase_rows is not None:
            upto = min(upto, phase_rows)
        yield PlannedStep(index, rows, upto - rows, planned)
        index, rows = index + 1, upto


def duration_tokens(
    duration: Duration,
    *,
    sequence_length: int,
    batch: Ramp | None = None,
    epoch_rows: int | None = None,
) -> int:
    """Tokens of a duration. Steps need the phase's `batch`, epochs the rows of its bins.

    An epoch is as many rows as all bins of the phase hold together, whatever the mixture takes from
    each. Fractions of a row are kept: `whole_rows` rounds phases, carrying remainders over.

    Raises:
        PlanError: the unit cannot be turned into tokens here.
    """
    if duration.unit == "tokens":
        return int(duration.amount)
    if duration.unit == "rows":
        return int(duration.amount) * sequence_length
    if duration.unit == "steps":
        if batch is None:
            raise PlanError(f"{duration}: steps have no length here; write tokens or rows")
        count = int(duration.amount)
        if not batch.moves:
            rows = (2 * count * round(batch.value(0)) + sequence_length) // (2 * sequence_length)
            return max(rows, count) * sequence_length
        for step in batch_rows(batch, sequence_length, None):
            if step.index == count - 1:
                return (step.first_row + step.rows) * sequence_length
    if epoch_rows is None:
        raise PlanError(f"{duration}: epochs have no length here; write tokens, rows or steps")
    return round(duration.amount * epoch_rows * sequence_length)


def whole_rows(
    tokens: int, sequence_length: int, owed: Fraction = Fraction(0)
) -> tuple[int, Fraction]:
    """Whole rows of a phase, at least one, and the fraction of a row carried to the next phase.

    `owed`: the fraction carried from the phases before; positive where rounding cut them, negative
    where it lengthened them. So eight phases of a quarter epoch are exactly two epochs, and a phase
    of whole rows has exactly the stated length.
    """
    exact = Fraction(tokens, sequence_length) + owed
    rows = max(1, math.floor(exact + Fraction(1, 2)))
    return rows, max(exact - rows, Fraction(-1, 2))


def mixture_ramps(
    shares: Mapping[str, tuple[Fraction, Fraction, int | None] | Literal["rest"]],
    phase_tokens: int | None,
) -> dict[str, Ramp]:
    """Ramps of a mixture by category (sorted), `rest` filled in.

    Args:
        shares: category -> (from, to, over in tokens; None spans the phase) or "rest".
        phase_tokens: length of the phase; None while unknown, which skips the checks that need it.

    Raises:
        PlanError: shares do not sum to 1 at every token, lie outside 0 to 1, or a ramp is longer
            than its phase.
    """
    rest = [category for category, share in shares.items() if share == "rest"]
    if len(rest) > 1:
        raise PlanError(
            f"mixture: {' and '.join(sorted(rest))} all have the share `rest`; "
            "give it to only one category"
        )
    span = phase_tokens or _UNKNOWN
    ramps: dict[str, Ramp] = {}
    for category, share in sorted(shares.items()):
        if share == "rest":
            continue
        start, end, over = share
        for value in (start, end):
            if not 0 <= value <= 1:
                raise PlanError(
                    f"mixture.{category}: share {float(value):g} is not between 0 and 1; change it"
                )
        if over is not None and phase_tokens is not None and over > phase_tokens:
            raise PlanError(
                f"mixture.{category}: its ramp takes {over:,} tokens, but the phase has "
                f"{phase_tokens:,}; shorten the ramp or leave `over` out (it then spans the phase)"
            )
        ramps[category] = Ramp.between(start, end, span if over is None else over)
    knots = []
    for t in sorted({0, *(knot for ramp in ramps.values() for knot, _ in ramp.knots)}):
        total = sum((ramp.value(t) for ramp in ramps.values()), Fraction(0))
        if (total > 1) if rest else (total != 1):
            given = ", ".join(
                f"{category} {float(ramp.value(t)):g}" for category, ramp in ramps.items()
            )
            raise PlanError(
                f"mixture: shares sum to {float(total):g} at "
                f"{'the end' if t == _UNKNOWN else f'token {t:,}'} of the phase ({given}); they "
                "must sum to 1 at every token: change one, or give one category `rest`"
            )
        knots.append((t, 1 - total))
    if rest:
        ramps[rest[0]] = Ramp(tuple(knots))
    return dict(sorted(ramps.items()))


@dataclass(frozen=True)
class TrainingPlan:
    """The plan of one phase: `rows` rows from token `start` of the run."""

    start: int
    rows: int
    sequence_length: int
    batch: Ramp
    schedule: Schedule
    schedule_origin: int
    """Token of the run at which the schedule begins: 0, or `start` where the phase restarts it."""
    mixture: dict[str, Ramp] | Literal["buckets"]
    trainable: Trainable
    owed: Fraction = Fraction(0)
    """Fraction of a row carried to the next phase, as this one has whole rows."""
    rewarm_tokens: int = 0
    """Tokens over which parameters with fresh moments reach the full learning rate."""

    @property
    def tokens(self) -> int:
        """Tokens of this phase."""
        return self.rows * self.sequence_length

    def at(self, t: int) -> PlanPoint:
        """The plan after `t` tokens of the whole run."""
        local = t - self.start
        mixture = self.mixture
        return PlanPoint(
            lr=self.schedule.lr(t - self.schedule_origin),
            batch_tokens=round(self.batch.value(local)),
            mixture="buckets"
            if mixture == "buckets"
            else {c: float(r.value(local)) for c, r in mixture.items()},
            sequence_length=self.sequence_length,
            trainable=self.trainable,
        )

    def fresh_factor(self, t: int) -> float:
        """Factor on the learning rate of parameters with fresh moments after `t` tokens."""
        return min(1.0, (t - self.start) / self.rewarm_tokens) if self.rewarm_tokens else 1.0

    def steps(self) -> Iterator[PlannedStep]:
        """All steps of the phase, in order."""
        return batch_rows(self.batch, self.sequence_length, self.rows)
