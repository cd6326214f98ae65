"""Which runs of a backlog are left out."""

from __future__ import annotations

import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from flows.running.catch_up import LATE_S, CatchUp, Due, left_out

NOW = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC)


def due(minutes_ago: float, taken_after_s: float | None = None, **parameters: Any) -> Due:
    expected = NOW - datetime.timedelta(minutes=minutes_ago)
    taken = None if taken_after_s is None else expected + datetime.timedelta(seconds=taken_after_s)
    return Due(uuid4(), expected, taken, parameters)


def test_of_fifty_runs_only_the_newest_is_left() -> None:
    runs = [due(60 * hours) for hours in range(50)]
    assert set(left_out(runs, "newest", NOW)) == {run.id for run in runs[1:]}


def test_of_fifty_runs_none_is_left_but_the_one_in_time() -> None:
    runs = [due(60 * hours) for hours in range(50)]
    assert set(left_out(runs, "skip", NOW)) == {run.id for run in runs[1:]}


def test_a_schedule_of_minutes_gets_on_where_a_run_takes_a_minute_to_start() -> None:
    runs = [due(minutes) for minutes in (9, 8, 1.5, 0.5)]
    assert set(left_out(runs, "newest", NOW)) == {run.id for run in runs[:2]}


@pytest.mark.parametrize("policy", ["newest", "skip"])
def test_two_schedules_of_one_minute_make_two_runs(policy: CatchUp) -> None:
    assert left_out([due(1), due(1)], policy, NOW) == {}


def test_a_run_with_other_parameters_does_not_do_the_work() -> None:
    weekly, daily = due(600, overrides=["a=1"]), due(30, overrides=["a=2"])
    assert left_out([weekly, daily], "newest", NOW) == {}


@pytest.mark.parametrize(
    ("taken_after_s", "out"), [(None, True), (LATE_S + 1, True), (LATE_S - 1, False)]
)
def test_a_run_that_a_worker_took_in_time_may_wait_for_the_one_before_it(
    taken_after_s: float | None, out: bool
) -> None:
    run = due(90, taken_after_s)
    found: dict[UUID, str] = left_out([run], "skip", NOW)
    assert (run.id in found) == out
    assert all("10:30 UTC (catch-up: skip)" in why for why in found.values())
