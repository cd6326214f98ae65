"""Bands and rows compared with datasketch's, and the curve with random signatures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from datasketch.lsh import _optimal_param

from tasks.text.lsh import bands_for, probability


@pytest.mark.parametrize("hashes", [16, 64, 112, 128])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.95])
@pytest.mark.parametrize("miss_weight", [0.5, 0.95])
def test_bands_equal_datasketch(hashes: int, threshold: float, miss_weight: float) -> None:
    peer = _optimal_param(threshold, hashes, 1 - miss_weight, miss_weight)
    assert bands_for(threshold, hashes, miss_weight=miss_weight) == peer


def test_the_usual_threshold_gives_the_usual_bands() -> None:
    assert bands_for(0.8, 112) == (14, 8)
    assert probability(0.8, 14, 8) == pytest.approx(0.9235, abs=1e-4)
    assert (probability(0.0, 14, 8), probability(1.0, 14, 8)) == (0.0, 1.0)


def test_more_weight_on_misses_never_finds_less() -> None:
    probabilities = [
        probability(0.8, *bands_for(0.8, 112, miss_weight=weight))
        for weight in (0.1, 0.5, 0.8, 0.95, 0.99)
    ]
    assert all(one <= other for one, other in itertools.pairwise(probabilities))


def test_the_probability_equals_the_share_of_random_signatures() -> None:
    rng = np.random.default_rng(3)
    for similarity, bands, rows in ((0.5, 10, 3), (0.8, 14, 8), (0.9, 5, 20)):
        agree = rng.random((20_000, bands, rows)) < similarity
        assert agree.all(axis=2).any(axis=1).mean() == pytest.approx(
            probability(similarity, bands, rows), abs=0.015
        )


@pytest.mark.parametrize(
    ("threshold", "hashes", "weight", "words"),
    [
        (0.0, 10, 0.5, "threshold 0.0"),
        (1.0, 10, 0.5, "threshold 1.0"),
        (0.5, 0, 0.5, "0 hashes"),
        (0.5, 10, 1.5, "miss_weight 1.5"),
    ],
)
def test_values_out_of_range_are_errors(
    threshold: float, hashes: int, weight: float, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        bands_for(threshold, hashes, miss_weight=weight)
