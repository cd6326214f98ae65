"""The schedule of a phase's node: what the section states, in tokens as far as they are known.

Imports are light: pydantic and the standard library.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from tasks.training.phases.standing import Standing, tokens_of_run
from tasks.training.planning.ramps import PlanError
from tasks.training.planning.schedules import NodeSchedule
from tasks.training.recipe.durations import Duration, Ratio
from tasks.training.recipe.sections import ScheduleSection


def node_schedule(
    stated: ScheduleSection,
    stand: Sequence[Standing],
    index: int,
    *,
    restart: bool,
    begun: bool = False,
) -> NodeSchedule:
    """The schedule of phase `index` of those that it spans, in tokens as far as they are known;
    `begun`: whether another recipe's phases come before them.

    Raises:
        PlanError: the total is less than the phases, or cannot be known when the phase starts.
    """
    total: int | Duration | None = None
    later = 0
    if stated.kind != "constant" or isinstance(stated.warmup, Ratio):
        total, later = _total(stated, stand, index, begun)
    warmup: int | Duration | Ratio
    if isinstance(stated.warmup, Ratio):
        warmup = stated.warmup.of(total) if isinstance(total, int) else stated.warmup
    else:
        warmup = _on_the_run("warmup", stated.warmup, stand, begun)
    return NodeSchedule(
        kind=stated.kind,
        warmup=warmup,
        final_ratio=stated.final_ratio,
        decay=stated.decay,
        total=total,
        later=later,
        restart=restart,
    )


def _total(
    stated: ScheduleSection, stand: Sequence[Standing], index: int, begun: bool
) -> tuple[int | Duration | None, int]:
    """(total, later) of a node's schedule."""
    if stated.total is not None:
        total = _on_the_run("total", stated.total, stand, begun)
        known = sum(here.wanted or 0 for here in stand)
        if isinstance(total, int) and total + slack(stand) < known:
            raise PlanError(
                f"schedule.total: {total:,} tokens, but the phases sum to {known:,}; "
                "raise it or leave it out"
            )
        return total, 0
    lengths = [here.tokens for here in stand]
    following = lengths[index + 1 :]
    if None in following:
        raise PlanError(
            "schedule.total: the length of a later phase follows from its bins, so the sum of "
            "phases is not known before binning; state schedule.total, or that phase, in tokens"
        )
    if None not in lengths and not begun:
        return sum(length or 0 for length in lengths), 0
    return None, sum(length or 0 for length in following)


def refuse_unknown_steps(schedule: NodeSchedule) -> None:
    """Refuse steps of the run where those before the first phase under the schedule are unknown."""
    for name, duration in (("warmup", schedule.warmup), ("total", schedule.total)):
        if not schedule.restart and isinstance(duration, Duration) and duration.unit == "steps":
            raise PlanError(
                f"schedule.{name}: {duration} count from the start of the run, and how many steps "
                "come before this phase follows from bins; write tokens"
            )


def _on_the_run(
    name: str, duration: Duration, stand: Sequence[Standing], begun: bool
) -> int | Duration:
    """Tokens of a duration from the start of the run; itself where the first phase is to settle it
    when its bins exist.

    Raises:
        PlanError: it cannot be known by then.
    """
    if begun and duration.unit == "steps":
        raise PlanError(
            f"schedule.{name}: {duration} count from the start of the run, which another recipe "
            "began (training.from); write tokens"
        )
    found = tokens_of_run(duration, stand)
    if found is not None:
        return found
    if duration.unit == "steps" and name == "total" and len(stand) > 1:
        raise PlanError(
            f"schedule.total: {duration} cannot be counted, as the length of a phase follows from "
            "its bins; write tokens, or epochs of the first phase's bins"
        )
    if duration.unit == "steps" and stand[0].length is not None:
        unknown = next(number for number, here in enumerate(stand) if here.length is None)
        raise PlanError(
            f"schedule.{name}: {duration} reach beyond the first {unknown} phases, and the length "
            "of the next one follows from its bins; write tokens"
            + (" or a ratio" if name == "warmup" else "")
        )
    return duration


def slack(stand: Sequence[Standing]) -> Fraction:
    """Tokens by which rounding to whole rows may change the sum of phases."""
    return Fraction(sum(here.stated.sequence_length for here in stand), 2)
