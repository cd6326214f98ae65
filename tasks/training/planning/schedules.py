"""Warm-up and total of a phase's schedule, in tokens.

What a recipe states in steps, epochs or as a ratio becomes tokens as early as it is known: when the
recipe is read, or where that depends on bins, at the start of the first phase under the schedule,
which hands it on to those after it. Imports are light: pydantic and the standard library.
"""

from __future__ import annotations

from infra.stage import Parameters
from tasks.training.planning.lengths import Length
from tasks.training.planning.plan import Position, Schedule, SharedSchedule
from tasks.training.planning.ramps import PlanError
from tasks.training.recipe.durations import Duration, Ratio
from tasks.training.recipe.sections import ScheduleKind

SLACK_ROWS = 8
"""Rows by which phases may exceed a stated total: each was rounded to whole rows."""


class NodeSchedule(Parameters):
    """The schedule of one phase.

    `total` counts from the start of the run, or of the phase where the schedule restarts. By
    default it is the tokens of earlier phases, of this phase and `later`. Numbers are tokens;
    durations are settled when the phase starts.
    """

    kind: ScheduleKind
    warmup: int | Duration | Ratio
    final_ratio: float
    decay: float
    total: int | Duration | None = None
    later: int = 0
    restart: bool = False


def settled(schedule: NodeSchedule, position: Position, length: Length) -> SharedSchedule:
    """Warm-up and total in tokens from the schedule's origin, for the phase at `position`.

    Raises:
        PlanError: they contradict the phase, or cannot be known.
    """
    origin = position.tokens if schedule.restart else 0
    before = position.tokens - origin
    earlier = None if schedule.restart else position.schedule
    total = schedule.total
    if total is None and schedule.kind == "constant" and not isinstance(schedule.warmup, Ratio):
        total = 0  # nothing depends on it
    elif total is None:
        total = earlier.total if earlier else before + length.tokens + schedule.later
    elif isinstance(total, Duration):
        total = earlier.total if earlier else _from_origin("total", total, before, length)
    warmup = schedule.warmup
    if isinstance(warmup, Ratio):
        warmup = warmup.of(total)
    elif isinstance(warmup, Duration):
        if earlier:
            return SharedSchedule(earlier.warmup, total)
        warmup = _from_origin("warmup", warmup, before, length)
        if warmup > length.tokens and isinstance(schedule.warmup, Duration):
            raise PlanError(
                f"schedule.warmup: {schedule.warmup} do not end in this phase of "
                f"{length.steps:,} steps ({length.tokens:,} tokens), whose length follows from "
                "its bins; write the warm-up in tokens or as a ratio"
            )
    return SharedSchedule(warmup, total)


def _from_origin(name: str, duration: Duration, before: int, length: Length) -> int:
    """Tokens of a duration from the schedule's origin, where this phase is the first under it."""
    if duration.unit == "steps" and before:
        raise PlanError(
            f"schedule.{name}: {duration} count from the start of the run, and the steps before "
            "this phase are not known; write tokens"
        )
    return length.tokens_of(duration)


def checked_schedule(
    schedule: NodeSchedule, peak: float, position: Position, length: Length
) -> tuple[Schedule, SharedSchedule | None]:
    """The learning rates of a phase where it stands, and the shared schedule that it hands on.

    Raises:
        PlanError: the phases up to this one exceed the total, or warm-up does.
    """
    shared = settled(schedule, position, length)
    upto = position.tokens - (position.tokens if schedule.restart else 0) + length.wanted
    slack = SLACK_ROWS * length.batches.sequence_length
    if schedule.kind != "constant" and upto > shared.total + slack:
        raise PlanError(
            f"schedule.total: {shared.total:,} tokens, but the phases up to this one take "
            f"{upto:,}; raise it or leave it out (the default is the sum of all phases)"
        )
    if schedule.kind != "constant" and shared.warmup > shared.total:
        raise PlanError(
            f"schedule.warmup: {shared.warmup:,} tokens are more than the schedule's "
            f"{shared.total:,}; shorten it"
        )
    rates = Schedule(
        schedule.kind, peak, shared.warmup, shared.total, schedule.final_ratio, schedule.decay
    )
    return rates, position.schedule if schedule.restart else shared
