"""Continuing a category's data in rows of another length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.training.planning.cursors import converted

BINS = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=6)


@given(BINS, st.integers(0, 3), st.data())
def test_whole_bins_and_epochs_are_the_same_place(
    bins: list[tuple[int, int]], epochs: int, data: st.DataObject
) -> None:
    old, new = [a for a, _ in bins], [b for _, b in bins]
    whole = data.draw(st.integers(0, len(bins) - 1))
    place = epochs * sum(old) + sum(old[:whole])
    assert converted(place, old, new) == epochs * sum(new) + sum(new[:whole])
    part = data.draw(st.integers(0, old[whole] - 1))
    inside = converted(place + part, old, new) - converted(place, old, new)
    assert inside * old[whole] <= part * new[whole] < (inside + 1) * old[whole]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(0, 500))
def test_rows_of_the_same_bins_stay_where_they_are(bins: list[int], taken: int) -> None:
    assert converted(taken, bins, bins) == taken


def test_another_number_of_bins_is_refused() -> None:
    with pytest.raises(ValueError, match="2 bins became 1; set data: restart"):
        converted(3, [4, 4], [8])
