"""The plan: durations, schedules, ramps, and which of them enter a phase's version."""

from __future__ import annotations

import itertools
import subprocess
import sys
from fractions import Fraction
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.quantities import parse_count
from tasks.training.phases.section import TrainingSection
from tasks.training.planning.batches import Batches
from tasks.training.planning.lengths import Length, fixed_tokens, whole_rows
from tasks.training.planning.plan import Position, Schedule
from tasks.training.planning.ramps import PlanError, Ramp, mixture_ramps
from tasks.training.recipe.durations import Duration
from tasks.training.stage import TrainingParameters

PHASES: list[dict[str, Any]] = [
    {
        "name": "align",
        "tokens": "0.5M",
        "batch": "4K",
        "trainable": "embeddings",
        "mixture": {"zh": 0.5, "en": "rest"},
    },
    {
        "name": "inject",
        "tokens": "6M",
        "batch": "4K",
        "mixture": {"zh": {"from": 0, "to": 0.5, "over": "1M"}, "en": "rest"},
    },
    {"name": "replay", "tokens": "2M", "batch": {"from": "4K", "to": "16K", "over": "1M"}},
]


def section(**changes: Any) -> TrainingSection:
    return TrainingSection.model_validate(
        {"schedule": {"warmup": "210K"}, "phases": PHASES} | changes
    )


def test_numbers_and_durations() -> None:
    assert [parse_count(n) for n in ("4M", "0.5B", 4e6, "1_000", "2T", "1.5K")] == [
        4_000_000,
        500_000_000,
        4_000_000,
        1000,
        2 * 10**12,
        1500,
    ]
    assert str(Duration.parse("100 steps")) == "100 steps"
    assert Duration.parse("0.5B") == Duration.parse(500_000_000) == Duration.parse("500M tokens")
    assert Duration.parse("1.5 epochs").amount == Fraction(3, 2)
    for wrong in ("", "4X", "-3", "1.5 steps", "0.1", True, None, "3 parsecs"):
        with pytest.raises(ValueError, match=r"duration|must be whole"):
            Duration.parse(wrong)


def test_durations_become_tokens() -> None:
    def tokens(duration: str, epoch_rows: int | None = None) -> int:
        batches = Batches(Ramp.constant(1000), 64)
        length = Length(10, batches, Fraction(0), 640, epoch_rows)
        return length.tokens_of(Duration.parse(duration))

    assert tokens("10 rows") == 640
    assert tokens("100 steps") == 1562 * 64 + 64 == 100_032
    assert tokens("1.5 epochs", 7) == 672
    with pytest.raises(PlanError, match="an epoch has no length before the bins exist"):
        tokens("1 epoch")


def test_schedules() -> None:
    cosine = Schedule("cosine", 1.0, 100, 1100, 0.1)
    assert [cosine.lr(t) for t in (0, 50, 100)] == [0, 0.5, 1.0]
    assert cosine.lr(600) == pytest.approx(0.55)
    assert cosine.lr(1100) == pytest.approx(0.1) == cosine.lr(5000)
    wsd = Schedule("wsd", 1.0, 100, 1000, 0.0, decay=0.2)
    assert [wsd.lr(t) for t in (100, 500, 800)] == [1.0, 1.0, 1.0]
    assert wsd.lr(900) == pytest.approx(0.5)
    assert Schedule("linear", 2.0, 0, 100, 0.5).lr(50) == pytest.approx(1.5)
    assert Schedule("constant", 2.0, 10, 0, 0.5).lr(10**9) == 2.0


SCHEDULES = st.builds(
    Schedule,
    st.sampled_from(["cosine", "wsd", "linear", "constant"]),
    st.floats(1e-6, 1),
    st.integers(0, 500),
    st.integers(500, 2000),
    st.floats(0, 1),
    st.floats(0.01, 1),
)


@given(SCHEDULES, st.integers(0, 3000))
def test_schedules_rise_then_fall_within_bounds(schedule: Schedule, t: int) -> None:
    here, after = schedule.lr(t), schedule.lr(t + 1)
    assert 0 <= here <= schedule.peak * (1 + 1e-12)
    assert after >= here if t + 1 <= schedule.warmup else after <= here * (1 + 1e-12)


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.fractions(0, 1)), max_size=4),
    st.fractions(0, 1),
    st.integers(0, 2000),
)
def test_integral_is_the_sum_of_trapezoids(
    knots: list[tuple[int, Fraction]], first: Fraction, t: int
) -> None:
    ramp = Ramp(((0, first), *sorted(dict(knots).items())))
    edges = sorted({0, t, *(knot for knot, _ in ramp.knots if knot < t)})
    pieces = itertools.pairwise(edges)
    assert ramp.integral(t) == sum(
        ((ramp.value(a) + ramp.value(b)) / 2 * (b - a) for a, b in pieces), Fraction(0)
    )


def test_rest_of_ramps_over_different_lengths_keeps_the_sum() -> None:
    ramps = mixture_ramps(
        {
            "a": (Fraction(0), Fraction(1, 2), 100),
            "b": (Fraction(1, 4), Fraction(1, 10), 300),
            "c": "rest",
        },
        1000,
    )
    for t in (0, 50, 100, 222, 300, 1000):
        assert sum(ramp.value(t) for ramp in ramps.values()) == 1


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ({"a": 0.5, "b": 0.4}, "sum to 0.9 at token 0 "),
        (
            {
                "a": {"from": 0.0, "to": 0.5, "over": 600},
                "b": {"from": 1.0, "to": 0.5, "over": 700},
            },
            "sum to .* at token 600",
        ),
        ({"a": 0.7, "b": {"from": 0.1, "to": 0.4}, "c": "rest"}, "sum to 1.1 at token"),
        ({"a": "rest", "b": "rest"}, "only one category"),
        ({"a": {"from": 0, "to": 1, "over": "3M"}, "b": "rest"}, "shorten the ramp"),
    ],
)
def test_mixtures_that_do_not_sum_to_one_are_refused(mixture: dict[str, Any], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        section(phases=[PHASES[0] | {"mixture": mixture}]).node("align", 64)


def test_total_smaller_than_the_phases_is_refused_and_larger_warns() -> None:
    with pytest.raises(
        PlanError, match=r"schedule\.total: 8,000,000 tokens, but the phases sum to 8,500,000"
    ):
        section(schedule={"total": "8M"}).node("align", 64)
    assert "will not reach its final value" in section(schedule={"total": "9M"}).warnings(64)[0]
    assert section(schedule={"total": "8.5M"}).warnings(64) == []


def test_a_batch_of_less_than_a_row_is_refused_with_both_numbers() -> None:
    for batch in (100, {"from": 100, "to": 4096}, {"from": 4096, "to": 255, "over": "10K"}):
        phases = [{"name": "a", "tokens": "1M", "batch": batch}]
        with pytest.raises(
            ValueError,
            match=r"batch.*: (100|255) tokens are less than one row of 256 .*2,048 or `8 rows`",
        ):
            TrainingSection.model_validate({"phases": phases}).node("a", 256)
    assert TrainingSection.model_validate(
        {"phases": [{"name": "a", "tokens": "1M", "batch": 256}]}
    ).node("a", 256)


@pytest.mark.parametrize(
    ("phase", "around", "told"),
    [
        (
            {"batch": 640},
            {},
            "a batch of 640 tokens is 2.5 rows of 256, so its steps have 2 or 3 rows, 2.5 on "
            "average",
        ),
        (
            {"batch": 8192, "tokens": 1000},
            {},
            "trains for 1,000 tokens, less than one step of 8,192 tokens, so it will run",
        ),
        (
            {"batch": 512},
            {"schedule": {"warmup": 512}},
            "training.schedule: a warmup of 512 tokens is no longer than one",
        ),
        (
            {"schedule": {"warmup": "2 rows"}},
            {},
            "'a': a warmup of 2 rows is no longer than one step of 2,048 tokens",
        ),
        (
            {"mixture": {"x": {"from": 0, "to": 1, "over": 2048}, "y": "rest"}},
            {},
            "x ramps over 2048 tokens",
        ),
        (
            {"batch": {"from": 1024, "to": 4096, "over": "4 rows"}},
            {},
            "batch ramps over 4 rows, which is no longer than one step",
        ),
        (
            {"batch": {"from": "2 rows", "to": "8 rows"}},
            {"devices": {"ranks": 4}},
            "'a': steps of 2 rows leave 2 of 4 ranks (devices.ranks) without a row",
        ),
        (
            {},
            {"tracker": "wandb"},
            "training.tracker: wandb is not installed here; where training runs without it",
        ),
        ({"rewarm": 0.002}, {}, "rewarm 0.002 of 1,000,000 tokens is no longer than one step"),
        (
            {},
            {"checkpoint_every": "1 step"},
            "checkpoint_every: 1 steps is no longer than one step of 2,048 tokens",
        ),
    ],
)
def test_what_steps_are_too_coarse_for_is_told(
    phase: dict[str, Any], around: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    given = {"phases": [{"name": "a", "tokens": "1M", "batch": 2048, **phase}], **around}
    (warning,) = TrainingSection.model_validate(given).warnings(256)
    assert told in warning


def test_usual_recipes_are_told_nothing() -> None:
    assert section().warnings(256) == [] and section(checkpoint_every="1M").warnings(256) == []
    assert (
        section(phases=[{"name": "a", "tokens": "1 epoch", "batch": "100K"}]).warnings(4096) == []
    )


@given(
    shares=st.lists(st.fractions(Fraction(1, 10), 3), min_size=1, max_size=12),
    rows=st.integers(10, 500),
    length=st.integers(8, 300),
)
def test_phases_lose_no_row_to_rounding(shares: list[Fraction], rows: int, length: int) -> None:
    owed, total = Fraction(0), 0
    for share in shares:
        wanted = fixed_tokens(Duration(amount=share, unit="epochs"), length, rows)
        found, owed = whole_rows(wanted, length, owed)
        total += found
        assert abs(found - share * rows) <= 1 + Fraction(1, length)
    assert abs(total - sum(shares) * rows) <= Fraction(1, 2) + Fraction(len(shares), 2 * length)
    assert whole_rows(7 * length, length, owed)[0] == 7  # a phase of whole rows keeps its length


def test_earlier_phases_do_not_depend_on_later_ones_when_the_total_is_stated() -> None:
    stated = {"warmup": "210K", "total": "9M"}
    more = [*PHASES, {"name": "anneal", "tokens": "0.2M", "batch": "4K"}]
    for schedule, equal in (
        (stated, True),
        ({"warmup": "210K"}, False),
        ({"kind": "constant"}, True),
    ):
        before, after = section(schedule=schedule), section(schedule=schedule, phases=more)
        assert (
            before.node("inject", 64).identity() == after.node("inject", 64).identity()
        ) is equal


def test_how_the_work_is_done_is_no_identity() -> None:
    node = section(micro_batch=1, checkpoint_every="3 steps", max_epochs=9).node("align", 64)
    assert node.identity() == section().node("align", 64).identity()
    assert section(seed=1).node("align", 64).identity() != node.identity()


def test_node_survives_json() -> None:
    for phase in PHASES:
        node = section().node(phase["name"], 64)
        assert TrainingParameters.model_validate_json(node.model_dump_json(by_alias=True)) == node


def test_phases_share_one_schedule_unless_they_restart_it() -> None:
    nodes = [section().node(phase["name"], 100) for phase in PHASES]
    starts = (0, 500_000, 6_500_000)
    plans = [node.plan(Position(start)) for node, start in zip(nodes, starts, strict=True)]
    assert {plan.schedule.total for plan in plans} == {8_500_000}
    assert plans[0].at(210_000).lr == 3e-4
    assert plans[0].at(500_000).lr == plans[1].at(500_000).lr
    assert plans[2].at(8_500_000).lr == pytest.approx(3e-5)
    assert plans[2].at(7_000_000).batch_tokens == 10_000
    assert plans[1].at(1_000_000).mixture == {"en": 0.75, "zh": 0.25}
    own = section(
        phases=[*PHASES[:2], PHASES[2] | {"schedule": {"kind": "linear", "final_ratio": 0}}]
    )
    plan = own.node("replay", 100).plan(Position(6_500_000))
    assert plan.at(6_500_000).lr == 3e-4
    assert plan.at(8_500_000).lr == 0


def test_a_phase_in_epochs_needs_a_stated_total_only_before_it() -> None:
    phases = [PHASES[0], PHASES[1] | {"tokens": "2 epochs"}]
    with pytest.raises(PlanError, match=r"state schedule\.total"):
        section(phases=phases).node("align", 64)
    node = section(phases=phases).node("inject", 64)
    plan = node.plan(Position(500_032), {"en": 4_000, "zh": 6_000})
    assert (plan.rows, plan.schedule.total) == (20_000, 500_032 + 20_000 * 64)


def test_parameters_import_no_heavy_library() -> None:
    heavy = ("torch", "numpy", "pyarrow", "transformers", "prefect")
    code = (
        f"import sys, tasks.training.phases.section; print([name for name in {heavy} if name in "
        "sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
