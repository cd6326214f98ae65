"""The sampler: proportions at every prefix, order, epochs, resume, ranks."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.training.planning.ramps import Ramp, mixture_ramps
from tasks.training.planning.sampler import DataExhausted, Row, Sampler, counts, deal, permutation

LENGTH = 64


def sampler(mixture: object, bins: dict[str, list[int]], **options: object) -> Sampler:
    values = {"sequence_length": LENGTH, "seed": 7, "max_epochs": 10**9} | options
    return Sampler(bins, mixture, **values)  # type: ignore[arg-type]


@st.composite
def mixtures(draw: st.DrawFn, most: int) -> dict[str, Ramp]:
    """Mixtures whose shares move between random points that each sum to 1."""
    categories = [f"c{i}" for i in range(draw(st.integers(1, most)))]
    knots = [0, *sorted(draw(st.sets(st.integers(1, 400 * LENGTH), max_size=3)))]
    weights = [[draw(st.integers(0, 20)) for _ in categories] for _ in knots]
    shares = [[Fraction(w + (not any(row)), sum(row) or len(row)) for w in row] for row in weights]
    return {
        category: Ramp(tuple((knot, shares[k][c]) for k, knot in enumerate(knots)))
        for c, category in enumerate(categories)
    }


@settings(max_examples=150, deadline=None)
@given(mixtures(most=3), st.integers(1, 500))
def test_proportions_hold_at_every_prefix_within_one_row(
    mixture: dict[str, Ramp], rows: int
) -> None:
    drawn = dict.fromkeys(mixture, 0)
    stream = sampler(mixture, {category: [5, 5] for category in mixture})
    for n in range(1, rows + 1):
        drawn[stream.draw(1)[0].category] += 1
        for category, ramp in mixture.items():
            assert abs(ramp.integral(n * LENGTH) / LENGTH - drawn[category]) < 1


@settings(max_examples=60, deadline=None)
@given(mixtures(most=8), st.integers(1, 300))
def test_many_categories_stay_within_the_stated_bound(mixture: dict[str, Ramp], rows: int) -> None:
    bound = sum((Fraction(1, i) for i in range(2, len(mixture) + 1)), Fraction(0))
    drawn = dict.fromkeys(mixture, 0)
    stream = sampler(mixture, {category: [5, 5] for category in mixture})
    for n in range(1, rows + 1):
        drawn[stream.draw(1)[0].category] += 1
        for category, ramp in mixture.items():
            behind = ramp.integral(n * LENGTH) / LENGTH - drawn[category]
            assert -1 < behind <= bound


BINS = st.lists(st.integers(0, 12), min_size=1, max_size=4)


@settings(deadline=None)
@given(BINS.filter(any), BINS.filter(any), st.integers(1, 3))
def test_buckets_hold_one_bin_of_each_category_and_every_row_once_an_epoch(
    a: list[int], b: list[int], epochs: int
) -> None:
    bins = {"a": a, "b": b}
    stream = sampler("buckets", bins)
    for epoch in range(epochs):
        seen = []
        for i in range(max(len(a), len(b))):
            share = {c: rows[i] for c, rows in bins.items() if i < len(rows) and rows[i]}
            rows = stream.draw(sum(share.values()))
            assert counts(rows) == share
            for row in rows:
                assert row.epoch == epoch
                assert sum(bins[row.category][:i]) <= row.number < sum(bins[row.category][: i + 1])
            seen.extend(rows)
        assert len(set(seen)) == len(seen) == sum(a) + sum(b)


def test_buckets_after_a_phase_of_other_ratios_take_what_is_left() -> None:
    bins = {"a": [10, 10], "b": [10, 10]}
    first = sampler(mixture_ramps({"a": (Fraction(1), Fraction(1), None), "b": "rest"}, 64), bins)
    first.draw(13)
    assert first.state.taken == {"a": 13, "b": 0}
    second = sampler("buckets", bins, taken=first.state.taken)
    assert counts(second.draw(10)) == {"b": 10}
    assert counts(second.draw(17)) == {"a": 7, "b": 10}
    assert second.state.taken == {"a": 20, "b": 20}


@settings(deadline=None)
@given(mixtures(most=3), st.integers(0, 60), st.integers(1, 60), st.integers(1, 7))
def test_resume_and_any_world_size_draw_the_same_rows(
    mixture: dict[str, Ramp], cut: int, more: int, world: int
) -> None:
    bins = {category: [3, 4, 2] for category in mixture}
    whole = sampler(mixture, bins).draw(cut + more)
    first = sampler(mixture, bins)
    head = first.draw(cut)
    second = sampler(mixture, bins)
    second.restore(first.state.rows, first.state.drawn)
    tail = second.draw(more)
    assert head + tail == whole
    ranks = [deal(tail, world, rank) for rank in range(world)]
    assert len({len(part) for part in ranks}) == 1
    dealt = [row for group in itertools.zip_longest(*ranks) for row in group if row is not None]
    assert dealt == tail


def test_phases_continue_where_the_one_before_stopped() -> None:
    bins = {"a": [4, 4]}
    mixture = {"a": Ramp.constant(1)}
    whole = sampler(mixture, bins).draw(12)
    first = sampler(mixture, bins)
    assert first.draw(5) + sampler(mixture, bins, taken=first.state.taken).draw(7) == whole
    assert len({row.number for row in whole[:8]}) == 8
    assert [row.epoch for row in whole] == [0] * 8 + [1] * 4


def test_bins_are_permuted_by_seed_bin_and_epoch() -> None:
    orders = {
        tuple(permutation(50, *key))
        for key in itertools.product((0, 1), ("a", "b"), (0, 1), (0, 1))
    }
    assert len(orders) == 16
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert permutation(6, 3, "web", 1, 2).tolist() == [
        3,
        4,
        2,
        1,
        0,
        5,
    ]  # the order is part of every phase's bytes
    assert np.abs(np.corrcoef(permutation(5000, 0, "a", 0, 0), np.arange(5000))[0, 1]) < 0.05


def test_a_category_repeated_too_often_stops_with_a_word() -> None:
    bins = {"a": [5], "b": [100]}
    mixture = {"a": Ramp.constant(Fraction(1, 2)), "b": Ramp.constant(Fraction(1, 2))}
    stream = sampler(mixture, bins, max_epochs=4)
    stream.check(40)
    with pytest.raises(
        DataExhausted,
        match=r"'a' has 5 rows; .* 21 are needed, that is 4\.20 epochs, and max_epochs is 4",
    ):
        stream.check(42)
    stream.draw(40)
    with pytest.raises(DataExhausted, match=r"raise training\.max_epochs"):
        stream.draw(2)
    with pytest.raises(DataExhausted, match="'zh' of the mixture has no rows"):
        sampler({"zh": Ramp.constant(1)}, bins)


def test_large_counts_stay_exact() -> None:
    ramps = mixture_ramps({"a": (Fraction(0), Fraction(1, 3), 6 * 10**9), "b": "rest"}, 10**10)
    stream = sampler(ramps, {"a": [10**9], "b": [10**9]})
    rows = 6 * 10**9 // LENGTH
    stream.restore(rows, {"a": rows // 6, "b": rows - rows // 6})
    assert stream._quota.behind(rows, [rows // 6, rows - rows // 6]) == [0, 0]


def test_row_is_named() -> None:
    assert Row("a", 3, 0) == ("a", 3, 0)
