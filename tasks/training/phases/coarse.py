"""Warnings about recipe values finer than one optimizer step: valid, but probably not intended."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from tasks.training.phases.standing import Standing
from tasks.training.planning.lengths import batch_tokens, fixed_tokens
from tasks.training.recipe.durations import Duration, Ratio
from tasks.training.recipe.mixtures import Share
from tasks.training.recipe.sections import BatchRamp, ScheduleSection

COARSE_ROWS = 8
"""Batches of fewer rows that are not whole rows are reported: steps differ by over an eighth."""


@dataclass(frozen=True)
class StatedPhase:
    """What a recipe states for one phase, and where it stands."""

    name: str
    standing: Standing
    rewarm: float | None
    schedule: ScheduleSection | None
    ranks: int
    """Those stated; 1 where the machine decides."""

    @property
    def where(self) -> str:
        """The phase's name in warnings."""
        return f"training.phases: {self.name!r}"

    @property
    def first_step(self) -> int:
        """Tokens of the phase's first step."""
        stated = self.standing.stated
        length = stated.sequence_length
        first, _ = batch_tokens(stated.batch, length)
        return (2 * first + length) // (2 * length) * length

    def shorter(self, duration: Duration) -> bool:
        """Whether a duration of the phase is no longer than its first step."""
        if duration.unit == "steps":
            return duration.amount <= 1
        if duration.unit == "epochs":
            return False  # how long these are is known after binning
        length = self.standing.stated.sequence_length
        return fixed_tokens(duration, length) <= self.first_step


def phase_warnings(phase: StatedPhase) -> list[str]:
    """Warnings about a phase: batches that are not whole rows, or fewer than ranks; lengths, ramps
    and warm-ups no longer than one step.
    """
    stated, length = phase.standing.stated, phase.standing.length
    row, first = stated.sequence_length, phase.first_step
    one_step = f"one step of {first:,} tokens"
    warnings = []
    if not isinstance(stated.batch, BatchRamp):
        size, _ = batch_tokens(stated.batch, row)
        average = Fraction(size, row)
        if average.denominator != 1 and average < COARSE_ROWS:
            warnings.append(
                f"{phase.where}: a batch of {size:,} tokens is {float(average):.3g} rows of "
                f"{row:,}, so its steps have {math.floor(average)} or {math.ceil(average)} "
                f"rows, {float(average):.3g} on average"
            )
    smallest = min(batch_tokens(stated.batch, row)) // row
    if phase.ranks > smallest:
        warnings.append(
            f"{phase.where}: steps of {smallest} rows leave {phase.ranks - smallest} of "
            f"{phase.ranks} ranks (devices.ranks) without a row; start fewer, or raise the batch"
        )
    if length is not None and length.wanted < first:
        warnings.append(
            f"{phase.where} trains for {length.wanted:,} tokens, less than {one_step}, so it "
            f"will run a single step of {length.tokens:,} tokens"
        )
    ramps = {"batch": stated.batch} | (
        dict(stated.mixture) if isinstance(stated.mixture, dict) else {}
    )
    for name, share in ramps.items():
        over = share.over if isinstance(share, (Share, BatchRamp)) else None
        if over is not None and phase.shorter(over):
            warnings.append(
                f"{phase.where}: {name} ramps over {over}, which is no longer than "
                f"{one_step}, so it changes abruptly; make `over` longer or `batch` smaller"
            )
    if phase.schedule is not None:
        warnings += _warmup(phase.where, phase.schedule, phase)
    if phase.rewarm and length is not None and phase.rewarm * length.tokens <= first:
        warnings.append(
            f"{phase.where}: rewarm {phase.rewarm:g} of {length.wanted:,} tokens is no longer "
            f"than {one_step}, so it has no effect; raise it or remove it"
        )
    return warnings


def coarse_section(
    first_phase: StatedPhase, schedule: ScheduleSection, checkpoint_every: Duration | None
) -> list[str]:
    """The section around the phases, measured by the first phase's steps."""
    warnings = [] if first_phase.schedule else _warmup("training.schedule", schedule, first_phase)
    if checkpoint_every is not None and first_phase.shorter(checkpoint_every):
        warnings.append(
            f"training.checkpoint_every: {checkpoint_every} is no longer than one step of "
            f"{first_phase.first_step:,} tokens, so every step writes a checkpoint; by default one "
            "is written every 30 s, or less often"
        )
    return warnings


def _warmup(where: str, schedule: ScheduleSection, phase: StatedPhase) -> list[str]:
    warmup = schedule.warmup
    if isinstance(warmup, Ratio) or not warmup.amount or not phase.shorter(warmup):
        return []
    return [
        f"{where}: a warmup of {warmup} is no longer than one step of {phase.first_step:,} "
        "tokens, so it has no effect; raise it or remove it"
    ]
