"""The training plan: a pure function of tokens consumed.

`TrainingPlan.at(t)` gives learning rate, batch, mixture and trainable set after `t` tokens of the
whole run; `TrainingPlan.steps()` gives the steps of one phase. Nothing here depends on tensors,
world size or wall clock, so every rank, every resumed run and `puna plan` compute the same. Tokens
consumed are rows x row length, padding and ignored prompts included.

    ramps.py      shares and batches that move linearly
    batches.py    steps of a phase, from its batch
    lengths.py    rows of a phase, from what the recipe states
    schedules.py  warm-up and total of a schedule, in tokens

Imports are light: pydantic and the standard library.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from tasks.training.planning.batches import Batches, PlannedStep
from tasks.training.planning.lengths import Length
from tasks.training.planning.ramps import PlanError, Ramp
from tasks.training.recipe.durations import Duration
from tasks.training.recipe.sections import ScheduleKind, Trainable


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
class SharedSchedule:
    """Warm-up and total, in tokens, of the schedule that phases share. The first phase under it
    settles what is stated in steps, epochs or a ratio, and hands it on, so that all have the same.
    """

    warmup: int
    total: int


@dataclass(frozen=True)
class Position:
    """Where a phase begins: what the phases before it hand on to its plan."""

    tokens: int = 0
    """Tokens that they consumed."""
    owed: Fraction = Fraction(0)
    """Tokens by which rounding to whole rows left them short (negative: in excess)."""
    schedule: SharedSchedule | None = None
    """None where no phase before has the shared schedule."""


@dataclass(frozen=True)
class TrainingPlan:
    """The plan of one phase, from token `start` of the run."""

    start: int
    length: Length
    schedule: Schedule
    schedule_origin: int
    """Token of the run at which the schedule begins: 0, or `start` where the phase restarts it."""
    mixture: dict[str, Ramp] | Literal["buckets"]
    trainable: Trainable
    shared: SharedSchedule | None = None
    """Handed on to the phases after this one."""
    rewarm_tokens: int = 0
    """Tokens over which parameters with fresh moments reach the full learning rate."""

    @property
    def rows(self) -> int:
        """Rows of this phase."""
        return self.length.rows

    @property
    def sequence_length(self) -> int:
        """Tokens of a row."""
        return self.length.batches.sequence_length

    @property
    def batches(self) -> Batches:
        """The steps of the phase, without its end."""
        return self.length.batches

    @property
    def batch(self) -> Ramp:
        """Batch tokens by token of the phase."""
        return self.batches.ramp

    @property
    def tokens(self) -> int:
        """Tokens of this phase."""
        return self.rows * self.sequence_length

    @property
    def step_count(self) -> int:
        """Steps of this phase."""
        return self.batches.steps(self.rows)

    @property
    def step_rows(self) -> tuple[int, int]:
        """Rows of the smallest step (but the last, which is cut) and of the largest."""
        sizes = [tokens / self.sequence_length for _, tokens in self.batch.knots]
        return min(math.floor(min(sizes)), self.rows), min(math.ceil(max(sizes)), self.rows)

    @property
    def end(self) -> Position:
        """Where the next phase begins."""
        return Position(self.start + self.tokens, self.length.owed, self.shared)

    @property
    def owed(self) -> Fraction:
        """Tokens carried to the next phase, as this one has whole rows."""
        return self.length.owed

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

    def steps(self, first: int = 0) -> Iterator[PlannedStep]:
        """The steps of the phase from number `first` (from 0), in order."""
        return self.batches.take(self.rows, first)

    def passes(self, interval: Duration, before: int, rows: int) -> bool:
        """Whether a multiple of `interval` lies after row `before` and not after row `rows`.

        Both are rows at the end of a step, counted from the phase's start. Steps are counted as
        steps, whatever their batch; an epoch is the rows of the phase's bins.

        Raises:
            PlanError: `interval` is in epochs, and the plan was made without bins.
        """
        if interval.unit == "steps":
            each, done = Fraction(interval.amount), self.batches.steps
            return done(rows) // each > done(before) // each
        each = Fraction(max(1, self.length.tokens_of(interval)), self.sequence_length)
        return rows // each > before // each


__all__ = [
    "PlanError",
    "PlanPoint",
    "PlannedStep",
    "Position",
    "Ramp",
    "Schedule",
    "ScheduleKind",
    "SharedSchedule",
    "Trainable",
    "TrainingPlan",
]
