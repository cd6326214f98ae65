"""Warnings about recipe values finer than one optimizer step: valid, but probably not intended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from tasks.training.durations import Duration
from tasks.training.plan import batch_rows, duration_tokens, whole_rows
from tasks.training.sections import BatchRamp, ScheduleSection, Share, batch_ramp, row_tokens

COARSE_ROWS = 8
"""Batches of fewer rows that are not whole rows are reported: steps differ by over an eighth."""


@dataclass(frozen=True)
class StatedPhase:
    """What a recipe states for one phase; `tokens` is None where not known before binning."""

    name: str
    tokens: int | None
    batch: int | BatchRamp
    mixture: Mapping[str, Any] | Literal["buckets"]
    rewarm: float | None
    schedule: ScheduleSection | None

    @property
    def where(self) -> str:
        """The phase's name in warnings."""
        return f"training.phases: {self.name!r}"

    def length(self, duration: Duration, sequence_length: int) -> int:
        """Tokens of a duration in the phase's steps."""
        ramp = batch_ramp(self.batch, None, sequence_length)
        return duration_tokens(duration, sequence_length=sequence_length, batch=ramp, epoch_rows=1)

    def first_step(self, sequence_length: int) -> int:
        """Tokens of the phase's first step."""
        span = row_tokens(self.tokens, sequence_length) if self.tokens else None
        ramp = batch_ramp(self.batch, span, sequence_length)
        first = next(batch_rows(ramp, sequence_length, None))
        return first.rows * sequence_length


def phase_warnings(phase: StatedPhase, sequence_length: int) -> list[str]:
    """Warnings about a phase: batches that are not whole rows; lengths, ramps and warm-ups no
    longer than one step.
    """
    first = phase.first_step(sequence_length)
    one_step = f"one step of {first:,} tokens"
    warnings = []
    average = (
        Fraction(phase.batch, sequence_length) if isinstance(phase.batch, int) else Fraction(0)
    )
    if average.denominator != 1 and average < COARSE_ROWS:
        warnings.append(
            f"{phase.where}: a batch of {phase.batch:,} tokens is {float(average):.3g} rows of "
            f"{sequence_length:,}, so its steps have {math.floor(average)} or {math.ceil(average)} "
            f"rows, {float(average):.3g} on average"
        )
    if phase.tokens is not None and phase.tokens < first:
        rows, _ = whole_rows(phase.tokens, sequence_length)
        warnings.append(
            f"{phase.where} trains for {phase.tokens:,} tokens, less than {one_step}, so it "
            f"will run a single step of {rows * sequence_length:,} tokens"
        )
    ramps = {"batch": phase.batch} | (dict(phase.mixture) if phase.mixture != "buckets" else {})
    for name, share in ramps.items():
        over = share.over if isinstance(share, (Share, BatchRamp)) else None
        if over is not None and phase.length(over, sequence_length) <= first:
            warnings.append(
                f"{phase.where}: {name} ramps over {over}, which is no longer than "
                f"{one_step}, so it changes abruptly; make `over` longer or `batch` smaller"
            )
    if phase.schedule is not None:
        warnings += _warmup(phase.where, phase.schedule, phase, sequence_length)
    if phase.rewarm and phase.tokens is not None and phase.rewarm * phase.tokens <= first:
        warnings.append(
            f"{phase.where}: rewarm {phase.rewarm:g} of {phase.tokens:,} tokens is no longer "
            f"than {one_step}, so it has no effect; raise it or remove it"
        )
    return warnings


def coarse_section(
    first_phase: StatedPhase,
    schedule: ScheduleSection,
    checkpoint_every: Duration | None,
    sequence_length: int,
) -> list[str]:
    """The section around the phases, measured by the first phase's steps."""
    warnings = (
        []
        if first_phase.schedule
        else _warmup("training.schedule", schedule, first_phase, sequence_length)
    )
    step = first_phase.first_step(sequence_length)
    if (
        checkpoint_every is not None
        and first_phase.length(checkpoint_every, sequence_length) <= step
    ):
        warnings.append(
            f"training.checkpoint_every: {checkpoint_every} is no longer than one step of {step:,} "
            "tokens, so every step writes a checkpoint; by default one is written every 30 s, or "
            "less often"
        )
    return warnings


def _warmup(
    where: str, schedule: ScheduleSection, phase: StatedPhase, sequence_length: int
) -> list[str]:
    step = phase.first_step(sequence_length)
    if not 0 < phase.length(schedule.warmup, sequence_length) <= step:
        return []
    return [
        f"{where}: a warmup of {schedule.warmup} is no longer than one step of {step:,} tokens, so "
        "it has no effect; raise it or remove it"
    ]
