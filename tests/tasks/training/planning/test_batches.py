"""Steps of a phase: closed forms against a slow loop that adds up one step after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.training.planning.batches import Batches, PlannedStep, span_of_steps
from tasks.training.planning.ramps import Ramp


def added_up(ramp: Ramp, length: int) -> Iterator[PlannedStep]:
    """The definition: a step takes the batch at its start; rows are cumulative tokens, rounded."""
    rows = planned = 0
    for index in itertools.count():
        planned += round(ramp.value(planned))
        upto = (2 * planned + length) // (2 * length)
        yield PlannedStep(index, rows, upto - rows, planned)
        rows = upto


@st.composite
def plans(draw: st.DrawFn) -> Batches:
    """Batches of at least a row, constant or moving up or down, over a little or a lot."""
    length = draw(st.integers(1, 60))
    sizes = st.one_of(st.integers(length, 6 * length), st.integers(length, length + 3))
    over = draw(st.one_of(st.integers(0, 4000), st.integers(10**5, 10**6)))
    return Batches(Ramp.between(draw(sizes), draw(sizes), over), length)


@settings(max_examples=300, deadline=None)
@given(plans(), st.integers(0, 400), st.integers(1, 400))
def test_steps_are_those_that_a_loop_adds_up(batches: Batches, first: int, rows: int) -> None:
    slow = list(itertools.islice(added_up(batches.ramp, batches.sequence_length), 401))
    assert batches.planned(first) == (slow[first - 1].planned_tokens if first else 0)
    assert batches.rows(first) == slow[first].first_row
    count = next(step.index + 1 for step in slow if step.first_row + step.rows >= rows)
    assert batches.steps(rows) == count
    taken = list(batches.take(rows))
    assert len(taken) == count and taken[:-1] == slow[: count - 1]
    assert sum(step.rows for step in taken) == rows and all(step.rows > 0 for step in taken)
    assert list(batches.take(rows, min(first, count))) == taken[min(first, count) :]
    for step in taken[:-1]:
        done = (step.first_row + step.rows) * batches.sequence_length
        assert abs(done - step.planned_tokens) * 2 <= batches.sequence_length


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 60))
def test_a_ramp_over_steps_ends_with_exactly_the_last_of_them(
    start: int, end: int, steps: int
) -> None:
    span = span_of_steps(start, end, steps)
    ramp, reached, batches = Ramp.between(start, end, span), 0, []
    for _ in range(steps + 1):
        batches.append((reached, ramp.value(reached)))
        reached += round(ramp.value(reached))
    assert batches[steps][0] >= span and batches[steps][1] == end
    if start != end:
        assert batches[steps - 1][0] < span
        if max(start, end) <= 4 * min(start, end):  # it ends where these steps end
            assert batches[steps][0] - span <= 2 + steps // 2


def test_ten_million_steps_take_no_time() -> None:
    assert Batches(Ramp.constant(2_000_000), 2048).steps(3 * 10**12 // 2048) == 1_500_000
    assert Batches(Ramp.constant(300_000), 2048).steps(3 * 10**12 // 2048) == 10_000_000
    slow_ramp = Batches(Ramp.between(1_000_000, 1_000_100, 10**13), 2048)
    assert slow_ramp.steps(10**13 // 2048) == pytest.approx(10**7, rel=1e-3)
