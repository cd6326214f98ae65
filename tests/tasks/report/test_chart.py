"""Charts: round numbers on axes, places in percent, names that do not meet."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.report.chart import Axis, Line, Mark, chart, number, round_numbers, steps, thinned


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0.9, [0.0, 0.2, 0.4, 0.6, 0.8]),
        (0, 530_000, [0, 100_000, 200_000, 300_000, 400_000, 500_000]),
        (-1.2, 1.2, [-1.0, -0.5, 0.0, 0.5, 1.0]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert round_numbers(low, high, 6) == expected


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 8))
def test_ticks_are_on_the_axis_and_few(low: float, span: float, at_most: int) -> None:
    found = round_numbers(low, low + span, at_most)
    assert len(found) <= at_most + 1
    slack = 1e-6 * max(abs(low), span)
    assert all(low - slack <= value <= low + span + slack for value in found)


def test_numbers_are_as_exact_as_their_step() -> None:
    assert [number(0.5, 0.25), number(0.2, 0.2), number(20_000, 5_000), number(2e-5, 1e-5)] == [
        "0.50",
        "0.2",
        "20,000",
        "2e-05",
    ]
    assert number(0.125, percent=True) == "12.5%"


def test_a_logarithmic_axis_has_powers() -> None:
    axis = Axis.around([1, 1000], log=True, zero=False, margin=0)
    assert [tick.text for tick in axis.ticks(5)] == ["1", "10", "100", "1,000"]
    assert math.isclose(axis.place(10), 1 / 3) and axis.place(0) == 0


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.floats(1e-6, 1e6), st.floats(1, 1e9))
def test_a_logarithmic_axis_of_any_length_has_ticks_on_it(low: float, times: float) -> None:
    ticks = Axis.around([low, low * times], log=True, zero=False, margin=0.05).ticks(6)
    assert 1 <= len(ticks) <= 7 and all(0 <= tick.at <= 100 for tick in ticks)


def test_a_narrow_logarithmic_axis_has_round_numbers() -> None:
    axis = Axis.around([2.1, 2.9], log=True, zero=False, margin=0)
    assert [tick.text for tick in axis.ticks(5)] == ["2.2", "2.4", "2.6", "2.8"]


def test_names_of_marks_do_not_meet_and_stay_inside() -> None:
    marks = [Mark("align", 0), Mark("inject", 5), Mark("replay", 70), Mark("a long name", 95)]
    drawn = chart("T", [Line("a", 0, [(0, 1), (100, 2)])], x="x", y="y", marks=marks)
    assert drawn is not None and drawn.rows == 2
    assert [(label.text, label.row) for label in drawn.labels] == [
        ("align", 0),
        ("inject", 1),
        ("replay", 0),
        ("a long name", 1),
    ]
    assert [label.left_of for label in drawn.labels] == [False, False, False, True]


def test_a_line_fills_its_box() -> None:
    drawn = chart("T", [Line("a", 0, [(0, 0), (10, 5)])], x="x", y="y", zero=True)
    assert drawn is not None
    assert drawn.paths[0].path == "M0.0 1000.0L1000.0 47.6"
    assert drawn.paths[0].dots.count("M") == 2
    assert drawn.legend == [] and "a from 0 at 0 to 5 at 10" in drawn.description


def test_nothing_is_drawn_without_points() -> None:
    assert chart("T", [Line("a", 0, [])], x="x", y="y") is None


def test_histograms_are_outlines_and_long_lines_are_thinned() -> None:
    assert steps([1, 2, 4], [5, 6]) == [(1, 5), (2, 5), (2, 6), (4, 6)]
    assert len(thinned([(x, x) for x in range(10_000)])) <= 300
