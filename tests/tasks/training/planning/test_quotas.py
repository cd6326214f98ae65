"""How many rows of each category a phase draws, told before it draws any."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.training.planning import quotas
from tasks.training.planning.quotas import BucketQuota, RampQuota, beyond, drawn_after, row_limit
from tasks.training.planning.ramps import Ramp
from tasks.training.planning.sampler import DataExhausted, Sampler
from tests.tasks.training.planning.test_sampler import LENGTH, mixtures, sampler


def last_drawn(stream: Sampler, rows: int) -> dict[str, int] | None:
    """Rows by category after `rows` draws; None where the sampler stops before."""
    try:
        stream.draw(rows)
    except DataExhausted:
        return None
    return stream.state.drawn


@settings(max_examples=150, deadline=None)
@given(
    mixtures(most=6),
    st.integers(1, 300),
    st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=3), min_size=6, max_size=6),
    st.floats(0.1, 5),
    st.lists(st.integers(0, 30), min_size=6, max_size=6),
    st.booleans(),
)
def test_a_phase_is_refused_exactly_where_it_would_stop(
    mixture: dict[str, Ramp],
    rows: int,
    sizes: list[list[int]],
    max_epochs: float,
    before: list[int],
    buckets: bool,
) -> None:
    bins = dict(zip(mixture, sizes, strict=False))
    taken = dict(zip(mixture, before, strict=False))
    limits = dict.fromkeys(list(mixture)[1:], max_epochs)

    def stream() -> Sampler:
        options = {"max_epochs": {**limits, "*": 2.5}, "taken": taken}
        return sampler("buckets" if buckets else mixture, bins, **options)

    try:
        stream().check(rows)
        fits = True
    except DataExhausted:
        fits = False
    assert fits is (last_drawn(stream(), rows) is not None)


def test_the_last_row_may_be_one_more_than_is_due() -> None:
    half = Ramp.constant(Fraction(1, 2))
    stream = sampler({"a": half, "b": half}, {"a": [10], "b": [10]}, max_epochs=2)
    stream.check(40)
    with pytest.raises(DataExhausted, match=r"21 are needed, that is 2\.10 epochs"):
        stream.check(41)


def test_a_limit_of_epochs_is_exact() -> None:
    assert [row_limit(10, 1.1), row_limit(3, 1.5), row_limit(1000, 2.45)] == [11, 5, 2450]


@settings(max_examples=15, deadline=None)
@given(mixtures(most=4), st.integers(70, 250))
def test_the_end_of_a_long_phase_is_drawn_without_its_beginning(
    mixture: dict[str, Ramp], rows: int
) -> None:
    bins = {category: [10**6] for category in mixture}
    quota = RampQuota([mixture[category] for category in sorted(mixture)], LENGTH)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quotas, "SIMULATED_ROWS", 0)
        found = drawn_after(quota, rows, quota.due(rows))
    drawn = last_drawn(sampler(mixture, bins), rows)
    assert drawn is not None and found == [drawn[category] for category in sorted(mixture)]


def test_a_phase_of_a_billion_rows_is_decided_at_its_last_row() -> None:
    rows, span = 10**9 + 7, (10**9 + 7) * LENGTH
    shares = {"a": (Fraction(1, 3), Fraction(1, 7)), "b": (Fraction(1, 5), Fraction(2, 7))}
    ramps = {category: Ramp.between(*share, span) for category, share in shares.items()}
    ramps["c"] = Ramp(tuple((t, 1 - sum(r.value(t) for r in ramps.values())) for t in (0, span)))
    quota = RampQuota([ramps[category] for category in "abc"], LENGTH)
    drawn = drawn_after(quota, rows, quota.due(rows))
    assert sum(drawn) == rows
    assert beyond(quota, rows, drawn) is None
    for c in range(3):
        allowed = [count - (i == c) for i, count in enumerate(drawn)]
        assert beyond(quota, rows, allowed) == (c, drawn[c])


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=3, max_size=5))
def test_buckets_are_whole_at_the_end_of_an_epoch(bins: list[list[int]]) -> None:
    if not all(map(sum, bins)):
        return
    quota = BucketQuota(bins, [0] * len(bins))
    rows = sum(map(sum, bins))
    assert drawn_after(quota, rows, quota.due(rows)) == list(map(sum, bins))
    assert all(math.floor(due) == due for due in quota.due(rows))
