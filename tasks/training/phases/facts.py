"""What a recipe's phases come to: tokens, steps, learning rates, mixture, epochs by category.

`facts` computes them as the phases themselves will, one after the other, from the bins that exist.
What depends on others is None. Imports are light: pydantic and the standard library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

from tasks.training.phases.phase_section import PhaseSection
from tasks.training.phases.section import TrainingSection
from tasks.training.planning.cursors import converted
from tasks.training.planning.lengths import NotKnownYet
from tasks.training.planning.plan import Position, TrainingPlan
from tasks.training.planning.quotas import (
    SIMULATED_ROWS,
    BucketQuota,
    Quota,
    RampQuota,
    beyond,
    drawn_after,
    row_limit,
)
from tasks.training.planning.ramps import PlanError
from tasks.training.recipe.mixtures import categories_of
from tasks.training.recipe.sections import epochs_limit


@dataclass(frozen=True)
class BinFacts:
    """The bins of one category at one row length."""

    rows: tuple[int, ...]
    """Of each bin."""
    loss_tokens: int | None = None
    """Positions with a target, of all bins together."""
    repeats: int = 1
    """Copies of the most repeated document."""


Bins = Mapping[tuple[str, int], BinFacts]
"""(category, row length) -> its bins, where they exist."""


@dataclass(frozen=True)
class PhaseFacts:
    """One phase. What is not known before binning is None, or missing in maps by category."""

    name: str
    sequence_length: int
    start: int | None = None
    """Tokens of the run before the phase."""
    tokens: int | None = None
    rows: int | None = None
    steps: int | None = None
    lr_start: float | None = None
    """Of the first step."""
    lr_peak: float | None = None
    """The largest of all steps."""
    lr_end: float | None = None
    """Of the last step."""
    batch_start: int | None = None
    """Tokens."""
    batch_end: int | None = None
    """Tokens, at the phase's end."""
    mixture_start: dict[str, float] | Literal["buckets"] | None = None
    mixture_end: dict[str, float] | Literal["buckets"] | None = None
    assumed: str = ""
    """What the mixture is where a search has not proposed it yet; "" where it is known."""
    drawn: dict[str, int] = field(default_factory=dict)
    """Rows of the phase by category; to a row, where the phase is long."""
    epochs: dict[str, float] = field(default_factory=dict)
    """Times that the phase takes a category's rows."""
    epochs_total: dict[str, float] = field(default_factory=dict)
    """The same since the data was restarted."""
    readings: dict[str, float] = field(default_factory=dict)
    """Times that the most repeated document of a category was read by then, where any is repeated:
    what `max_epochs` limits; it is `epochs_total` where none is.
    """
    loss_tokens: dict[str, int] = field(default_factory=dict)
    """Loss-bearing tokens by category, from their share in the bins."""
    plan: TrainingPlan | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Begin:
    """What the first phase takes from another recipe's; by default the beginning of a run.

    `taken`, `bins` and `lengths`, by category: as `tasks.training.spec.Carried` has them.
    """

    position: Position = field(default_factory=Position)
    taken: Mapping[str, int] = field(default_factory=dict)
    bins: Mapping[str, Sequence[int]] = field(default_factory=dict)
    lengths: Mapping[str, int] = field(default_factory=dict)


_RUN = Begin()


@dataclass
class _Place:
    """How far a category's rows are taken."""

    taken: int
    bins: tuple[int, ...]
    length: int


def facts(
    section: TrainingSection,
    sequence_length: int,
    categories: Sequence[str],
    bins: Bins,
    begin: Begin | None = _RUN,
) -> list[PhaseFacts]:
    """The phases of a recipe, in order.

    Args:
        section: the recipe's `training`.
        sequence_length: of phases that have none of their own.
        categories: all of the recipe.
        bins: those that exist; may be empty.
        begin: where the first phase begins; None where that is not known yet.

    Raises:
        PlanError: a phase cannot be carried out; it begins with the phase's name.
    """
    return list(_walk(section, sequence_length, categories, bins, begin))


def _walk(
    section: TrainingSection,
    sequence_length: int,
    categories: Sequence[str],
    bins: Bins,
    begin: Begin | None,
) -> Iterator[PhaseFacts]:
    position = begin.position if begin is not None else None
    places: dict[str, _Place] | None = None
    if begin is not None:
        places = {
            category: _Place(taken, tuple(begin.bins[category]), begin.lengths[category])
            for category, taken in begin.taken.items()
        }
    for phase in section.phases:
        length = phase.sequence_length or sequence_length
        named = categories_of(phase.mixture, categories)
        own = {c: bins[c, length].rows for c in named if (c, length) in bins}
        known = len(own) == len(named)
        rows = {category: sum(own[category]) for category in own} if known else None
        plan = None
        if position is not None:
            plan = _plan_of(section, phase.name, sequence_length, position, rows)
        if plan is None:
            position = places = None
            yield PhaseFacts(phase.name, length)
            continue
        position = plan.end
        if phase.data == "restart":
            places = {}
        if places is None or not known or not all(map(sum, own.values())):
            places = None
            yield _of_plan(phase.name, plan)
            continue
        yield _with_data(section, phase, plan, own, places, bins)


def _plan_of(
    section: TrainingSection,
    name: str,
    sequence_length: int,
    position: Position,
    rows: Mapping[str, int] | None,
) -> TrainingPlan | None:
    """A phase's plan where it stands; None before the bins exist that it depends on."""
    try:
        return section.node(name, sequence_length).plan(position, rows)
    except NotKnownYet:
        return None
    except PlanError as error:
        raise PlanError(f"{name}.{error}") from None


def _with_data(
    section: TrainingSection,
    phase: PhaseSection,
    plan: TrainingPlan,
    own: Mapping[str, tuple[int, ...]],
    places: dict[str, _Place],
    bins: Bins,
) -> PhaseFacts:
    """Facts of a phase whose bins exist; moves `places` on."""
    length, drawing = plan.sequence_length, sorted(own)
    taken = []
    for category in drawing:
        place = places.get(category)
        if place and place.taken and place.length == length and place.bins != own[category]:
            raise PlanError(
                f"{phase.name}.data: continue, but the bins of {category!r} had "
                f"{list(place.bins)} rows in the phase before and have {list(own[category])} now; "
                "set data: restart"
            )
        if place is None or place.length == length:
            taken.append(place.taken if place else 0)
        else:
            taken.append(converted(place.taken, place.bins, own[category]))
    quota: Quota = (
        BucketQuota([own[c] for c in drawing], taken)
        if plan.mixture == "buckets"
        else RampQuota([plan.mixture[c] for c in drawing], length)
    )
    due = quota.due(plan.rows)
    drawn = (
        drawn_after(quota, plan.rows, due)
        if plan.rows <= SIMULATED_ROWS
        else [round(amount) for amount in due]
    )
    rows = {category: sum(own[category]) for category in drawing}
    limits = {c: epochs_limit(section.max_epochs_of(phase), c) for c in drawing}
    copies = {category: bins[category, length].repeats for category in drawing}
    allowed = [
        max(0, row_limit(rows[c], limits[c], copies[c]) - before)
        for c, before in zip(drawing, taken, strict=True)
    ]
    warnings = []
    if exceeded := beyond(quota, plan.rows, allowed):
        category, wanted = drawing[exceeded[0]], exceeded[1] + taken[exceeded[0]]
        epochs, most = wanted / rows[category], copies[category]
        read = f", documents that are there {most} times {epochs * most:.2f} times" * (most > 1)
        warnings.append(
            f"training.phases: {phase.name!r} takes {category} up to "
            f"{epochs:.2f} epochs ({wanted:,} of its {rows[category]:,} rows){read}, "
            f"and max_epochs is {limits[category]:g}, so it will stop before its first step; lower "
            "its share, shorten the phase, raise max_epochs, or add data"
        )
    for category, before, count in zip(drawing, taken, drawn, strict=True):
        places[category] = _Place(before + count, own[category], length)
    targets = {category: bins[category, length].loss_tokens for category in drawing}
    by_category = list(zip(drawing, taken, drawn, strict=True))
    return replace(
        _of_plan(phase.name, plan),
        drawn=dict(zip(drawing, drawn, strict=True)),
        epochs={c: count / rows[c] for c, _, count in by_category},
        epochs_total={c: (before + count) / rows[c] for c, before, count in by_category},
        readings={
            c: (before + count) / rows[c] * copies[c]
            for c, before, count in by_category
            if copies[c] > 1
        },
        loss_tokens={
            c: round(Fraction(count * targeted, rows[c]))
            for c, _, count in by_category
            if (targeted := targets[c]) is not None
        },
        warnings=tuple(warnings),
    )


def _of_plan(name: str, plan: TrainingPlan) -> PhaseFacts:
    """What follows from a phase's plan alone."""
    first = _lr_of_step(plan, 1)
    last = _lr_of_step(plan, plan.step_count)
    # The rate rises to the end of warm-up and never rises after it.
    turn = plan.schedule.warmup + plan.schedule_origin - plan.start
    near = plan.batches.steps(max(1, min(plan.rows, -(-turn // plan.sequence_length))))
    around = [_lr_of_step(plan, min(max(1, near + n), plan.step_count)) for n in (-1, 0, 1)]
    begin, end = plan.at(plan.start), plan.at(plan.start + plan.tokens)
    return PhaseFacts(
        name,
        plan.sequence_length,
        start=plan.start,
        tokens=plan.tokens,
        rows=plan.rows,
        steps=plan.step_count,
        lr_start=first,
        lr_peak=max(first, last, *around),
        lr_end=last,
        batch_start=begin.batch_tokens,
        batch_end=end.batch_tokens,
        mixture_start=begin.mixture,
        mixture_end=end.mixture,
        plan=plan,
    )


def _lr_of_step(plan: TrainingPlan, number: int) -> float:
    """Learning rate of a step, numbered from 1: that after its tokens, as the loop has it."""
    rows = min(plan.rows, plan.batches.rows(number))
    return plan.schedule.lr(plan.start + rows * plan.sequence_length - plan.schedule_origin)
