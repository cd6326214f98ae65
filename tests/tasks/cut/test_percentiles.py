"""Exact percentiles from counted bins equal numpy's, however values are spread over files."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.cut.percentiles import count_bins, histogram, percentile, values_in_bins, wanted_bins

VALUES = st.lists(
    st.one_of(
        st.floats(1.0, 1e6),
        st.floats(min_value=1e-300, max_value=1e300),
        st.sampled_from([7.5, 340.0]),
    ),
    min_size=1,
    max_size=40,
)


def in_two_passes(files: list[np.ndarray], percents: list[float]) -> list[float]:
    bins: Counter[int] = Counter()
    for values in files:
        bins.update(count_bins(values))
    found: Counter[float] = Counter()
    wanted = wanted_bins(bins, percents)
    for values in files:
        found.update(values_in_bins(values, wanted))
    return [percentile(bins, found, percent) for percent in percents]


@given(VALUES, st.lists(st.floats(0, 100), min_size=1, max_size=3), st.integers(1, 5))
def test_percentiles_equal_numpy_to_the_bit_however_split(
    values: list[float], percents: list[float], files: int
) -> None:
    array = np.array(values)
    percentiles = in_two_passes(list(np.array_split(array, files)), percents)
    assert percentiles == np.percentile(array, percents).tolist()


def test_a_large_skewed_sample() -> None:
    array = np.random.default_rng(0).lognormal(6.0, 1.0, 200_000)
    bins = count_bins(array)
    assert in_two_passes([array], [30.0, 60.0]) == np.percentile(array, [30, 60]).tolist()
    collected = sum(values_in_bins(array, wanted_bins(bins, [30.0, 60.0])).values())
    assert collected < 0.01 * len(array), "the second pass must hold a sliver of the values"
    bars = histogram(bins)
    assert sum(bars["documents"]) == len(array)
    assert bars["documents"] == np.histogram(array, [*bars["low"], np.inf])[0].tolist()


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_values_that_cannot_be_perplexities_are_errors(value: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        count_bins(np.array([1.0, value]))


def test_an_empty_histogram_has_no_bars() -> None:
    assert histogram({}) == {"low": [], "documents": []}
