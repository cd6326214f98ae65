"""Phases where they stand: random recipes against a slow walk through all their steps."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.training.phases.facts import BinFacts, facts
from tasks.training.phases.section import TrainingSection
from tasks.training.planning.plan import Position, TrainingPlan
from tasks.training.planning.ramps import PlanError
from tasks.training.recipe.durations import Duration
from tests.tasks.training.planning.test_batches import added_up

LENGTHS = st.sampled_from([8, 16, 24])


@st.composite
def phases(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Phases of a few steps each, in every unit and with every kind of batch."""
    stated: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 4))):
        size = st.integers(1, 9).map(lambda rows: f"{rows} rows")
        tokens = st.integers(24, 400).map(str)
        batch: Any = draw(st.one_of(size, tokens))
        if draw(st.booleans()):
            batch = {"from": batch, "to": draw(st.one_of(size, tokens))}
            if draw(st.booleans()):
                batch["over"] = draw(st.sampled_from(["5 steps", "40 rows", "900"]))
        unit = draw(st.sampled_from(["steps", "rows", "tokens"]))
        amount = draw(st.integers(1, 30)) * (97 if unit == "tokens" else 1)
        stated.append(
            {
                "name": f"p{number}",
                "tokens": f"{amount} {unit}",
                "batch": batch,
                "sequence_length": draw(LENGTHS),
            }
        )
    return stated


def plans_of(section: TrainingSection) -> list[TrainingPlan]:
    """Every phase's plan, from what the one before hands on, as a run makes them."""
    position, made = Position(), []
    for phase in section.phases:
        plan = section.node(phase.name, 16).plan(position, {"a": 10})
        position = plan.end
        made.append(plan)
    return made


def walked(plans: list[TrainingPlan]) -> list[int]:
    """Tokens of the run after each step, added up one by one."""
    ends = []
    for plan in plans:
        rows = 0
        for step in added_up(plan.batch, plan.sequence_length):
            rows = min(plan.rows, rows + step.rows)
            ends.append(plan.start + rows * plan.sequence_length)
            if rows == plan.rows:
                break
    return ends


@settings(max_examples=150, deadline=None)
@given(phases())
def test_phases_have_the_steps_and_lengths_that_are_stated(stated: list[dict[str, Any]]) -> None:
    section = TrainingSection.model_validate({"phases": stated})
    plans = plans_of(section)
    for phase, plan in zip(stated, plans, strict=True):
        amount, unit = phase["tokens"].split()
        if unit == "steps":
            assert plan.step_count == int(amount)
        elif unit == "rows":
            assert plan.rows == int(amount)
        else:
            assert abs(plan.tokens - int(amount)) <= plan.sequence_length
        assert len(walked([plan])) == plan.step_count == len(list(plan.steps()))
    ends = [plan.start + plan.tokens for plan in plans]
    assert [plan.start for plan in plans] == [0, *ends[:-1]]
    assert {plan.schedule.total for plan in plans} == {ends[-1]}


@settings(max_examples=150, deadline=None)
@given(phases(), st.integers(1, 40), st.integers(0, 60))
def test_steps_of_the_run_are_counted_over_its_phases(
    stated: list[dict[str, Any]], warmup: int, beyond: int
) -> None:
    ends = walked(plans_of(TrainingSection.model_validate({"phases": stated})))
    total = f"{len(ends)} steps" if beyond % 2 else None
    section = TrainingSection.model_validate(
        {"phases": stated, "schedule": {"warmup": f"{warmup} steps", "total": total}}
    )
    if warmup > len(ends):
        with pytest.raises(PlanError, match="more than the schedule's"):
            plans_of(section)
        return
    plans = plans_of(section)
    assert walked(plans) == ends
    assert {plan.schedule.warmup for plan in plans} == {ends[warmup - 1]}
    assert {plan.schedule.total for plan in plans} == {ends[-1]}
    rates = [
        plan.schedule.lr(end) for plan in plans for end in walked([plan]) if end <= ends[warmup - 1]
    ]
    assert len(rates) == warmup and max(rates) == rates[-1] == section.optimizer.lr


@settings(max_examples=80, deadline=None)
@given(phases(), st.integers(1, 7))
def test_checkpoints_in_steps_are_due_after_exactly_that_many(
    stated: list[dict[str, Any]], every: int
) -> None:
    interval = Duration.parse(f"{every} steps")
    for plan in plans_of(TrainingSection.model_validate({"phases": stated})):
        done = [0, *(step.first_row + step.rows for step in plan.steps())]
        due = [
            number
            for number, (before, rows) in enumerate(itertools.pairwise(done), 1)
            if plan.passes(interval, before, rows)
        ]
        assert due == list(range(every, plan.step_count + 1, every))


def test_a_phase_that_stops_changes_nothing_before_it() -> None:
    first = {"name": "a", "tokens": "50 steps", "batch": "4 rows"}
    for last in ({"tokens": "10 steps", "batch": "2 rows"}, {"tokens": "3 epochs"}):
        section = TrainingSection.model_validate(
            {
                "phases": [first, {"name": "b", "batch": "4 rows", **last}],
                "schedule": {"warmup": "20 steps", "total": "1M"},
            }
        )
        alone = TrainingSection.model_validate(
            {"phases": [first], "schedule": {"warmup": "20 steps", "total": "1M"}}
        )
        assert section.node("a", 16).identity() == alone.node("a", 16).identity()


def test_what_depends_on_bins_is_settled_once_and_handed_on() -> None:
    section = TrainingSection.model_validate(
        {
            "batch": {"from": "2 rows", "to": "6 rows"},
            "phases": [
                {"name": "a", "tokens": "1.5 epochs"},
                {"name": "b", "tokens": "40 rows"},
                {"name": "c", "tokens": "10 steps", "schedule": {"warmup": {"ratio": 0.5}}},
                {"name": "d", "tokens": "40 rows"},
            ],
            "schedule": {"warmup": {"ratio": 0.125}, "total": "4 epochs"},
        }
    )
    position, made = Position(), {}
    for name, rows in (("a", 80), ("b", 33), ("c", 80), ("d", 7)):
        made[name] = section.node(name, 16).plan(position, {"x": rows})
        position = made[name].end
    assert {(made[n].schedule.warmup, made[n].schedule.total) for n in "abd"} == {
        (640, 4 * 80 * 16)
    }
    assert made["c"].schedule.total == made["c"].tokens == 2 * made["c"].schedule.warmup


def test_epochs_of_categories_decide_shares_and_length() -> None:
    mixture = {"wiki": {"epochs": 2.45}, "cc": {"epochs": 1.1}}
    phase = {"name": "a", "mixture": mixture, "batch": "4 rows"}
    section = TrainingSection.model_validate({"phases": [phase]})
    plan = section.node("a", 16).plan(Position(), {"wiki": 100, "cc": 1000})
    assert plan.rows == 245 + 1100
    shares = {"cc": 1100 / 1345, "wiki": 245 / 1345}
    assert plan.at(0).mixture == pytest.approx(shares)
    for tokens, fits in (("21.6K", True), ("30K", False)):
        stated = TrainingSection.model_validate({"phases": [phase | {"tokens": tokens}]})
        node = stated.node("a", 16)
        if fits:
            assert node.plan(Position(), {"wiki": 100, "cc": 1000}).rows == 1345
        else:
            with pytest.raises(PlanError, match="30000 tokens is 30,000 tokens, but the epochs"):
                node.plan(Position(), {"wiki": 100, "cc": 1000})
    rest = phase | {"mixture": {"wiki": {"epochs": 2}, "cc": "rest"}, "tokens": "300 rows"}
    node = TrainingSection.model_validate({"phases": [rest]}).node("a", 16)
    assert node.plan(Position(), {"wiki": 100, "cc": 1000}).at(0).mixture["cc"] == 1 / 3
    with pytest.raises(PlanError, match="none is left for `rest`"):
        node.plan(Position(), {"wiki": 200, "cc": 1000})


def test_published_plans_are_told_at_once() -> None:
    tiny = TrainingSection.model_validate(
        {
            "phases": [
                {
                    "name": "t",
                    "tokens": "3T",
                    "batch": "2M",
                    "mixture": {"code": {"from": 0, "to": 0.3}, "text": "rest"},
                }
            ],
            "schedule": {"warmup": "2000 steps"},
            "optimizer": {"lr": 4e-4},
        }
    )
    bins = {("code", 2048): BinFacts((10**7,) * 10), ("text", 2048): BinFacts((4 * 10**7,) * 10)}
    (told,) = facts(tiny, 2048, ["code", "text"], bins)
    assert (told.steps, told.lr_peak) == (1_500_000, 4e-4)
    assert told.epochs["code"] == pytest.approx(0.15 * 3e12 / 2048 / 10**8)
    assert told.lr_end == pytest.approx(4e-5) and "max_epochs is 4" not in str(told.warnings)
    large = TrainingSection.model_validate(
        {
            "phases": [{"name": "l", "tokens": "1.4T", "batch": "4M", "mixture": {"cc": 1.0}}],
            "schedule": {"warmup": "2000 steps"},
        }
    )
    (told,) = facts(large, 2048, ["cc"], {})
    assert told.steps == 350_000 and told.epochs == {} and told.tokens == pytest.approx(1.4e12)


def test_exactness_does_not_depend_on_floats() -> None:
    section = TrainingSection.model_validate(
        {"phases": [{"name": "a", "tokens": "0.3 epochs", "batch": "2 rows"}]}
    )
    plan = section.node("a", 16).plan(Position(), {"x": 10})
    assert plan.rows == 3 and plan.owed == Fraction(0)
