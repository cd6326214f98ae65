"""Mixtures are spread evenly, sum to 1, and more of them continue those before."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.mixture.draws import around, factors, over_simplex, points, seed_of, whole


@given(
    st.integers(1, 40), st.integers(1, 8), st.integers(0, 99), st.sampled_from(["simplex", "round"])
)
@settings(max_examples=60, deadline=None)
def test_draws_are_shares_and_more_continue_them(
    count: int, categories: int, seed: int, kind: str
) -> None:
    names = [f"c{number}" for number in range(categories)]

    def drawn(number: int) -> list[dict[str, float]]:
        if kind == "simplex":
            return over_simplex(names, number, str(seed))
        return around(dict.fromkeys(names, 1 / categories), number, 1.0, str(seed))

    found = drawn(count)
    assert drawn(count + 3)[:count] == found
    for shares in found:
        assert math.isclose(math.fsum(shares.values()), 1.0, abs_tol=1e-9)
        assert all(0 <= share <= 1 for share in shares.values())


def test_points_fill_the_square_more_evenly_than_chance() -> None:
    found = points(64, 2, "0")
    cells = {(int(x * 8), int(y * 8)) for x, y in found}
    assert len(cells) > 46  # 64 random points meet 41 of 64 cells


def test_the_simplex_is_covered_around_its_centre() -> None:
    found = over_simplex(["a", "b", "c"], 400, "0")
    for name in "abc":
        shares = [one[name] for one in found]
        assert sum(shares) / len(shares) == pytest.approx(1 / 3, abs=0.02)
        assert min(shares) < 0.02 and max(shares) > 0.9


def test_factors_have_the_spread_asked_for() -> None:
    logs = [math.log(one["a"]) for one in factors(["a", "b"], 500, 0.7, "0")]
    mean = sum(logs) / len(logs)
    assert mean == pytest.approx(0, abs=0.02)
    assert math.sqrt(sum((x - mean) ** 2 for x in logs) / len(logs)) == pytest.approx(0.7, abs=0.03)


def test_seeds_differ_by_place() -> None:
    assert len({seed_of(0, group, draw) for group in range(5) for draw in range(50)}) == 250


def test_rounded_weights_sum_to_one() -> None:
    assert whole({"a": 1, "b": 1, "c": 1}) == {"a": 0.3334, "b": 0.3333, "c": 0.3333}
