"""AUC, its interval, calibration and groups, against what they mean."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.classifier import measure
from tasks.classifier.groups import near_duplicates, side


def sample(count: int, distance: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    good = rng.random(count) < 0.3
    return (rng.normal(size=count) + distance * good).round(2), good


def test_auc_is_the_share_of_pairs_in_order() -> None:
    margins, good = sample(300, 1.0)
    pairs = margins[good][:, None] - margins[~good][None, :]
    assert measure.auc(margins, good) == pytest.approx(
        ((pairs > 0) + (pairs == 0) / 2).mean(), abs=1e-12
    )
    assert measure.auc(np.zeros(10), np.arange(10) < 5) == 0.5


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # of two normals one standard deviation apart: the normal distribution at 1 / sqrt(2)
    covered = 0
    for seed in range(60):
        margins, good = sample(250, 1.0, seed)
        low, high = measure.auc_interval(margins, good, np.arange(250), seed)
        covered += low <= 0.7602 <= high
    assert 52 <= covered <= 60


def test_copies_widen_the_interval() -> None:
    margins, good = sample(120, 1.0)
    low, high = measure.auc_interval(margins, good, np.arange(120))
    many = np.tile(margins, 5), np.tile(good, 5), np.tile(np.arange(120), 5)
    wide = measure.auc_interval(*many)
    narrow = measure.auc_interval(many[0], many[1], np.arange(600))
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])
    assert wide[1] - wide[0] == pytest.approx(high - low, rel=0.3)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_platt_is_calibrated_on_any_scale_and_keeps_the_order(scale: float) -> None:
    margins, good = sample(4_000, 1.5)
    margins = margins * scale + 7
    probabilities = measure.fit_platt(margins, good).probabilities(margins)
    assert measure.calibration_error(measure.reliability(probabilities, good)) < 0.03
    assert (np.diff(probabilities[np.argsort(margins)]) >= 0).all()
    assert probabilities.mean() == pytest.approx(good.mean(), abs=0.01)


def test_platt_does_not_turn_a_classifier_around_and_survives_perfect_ones() -> None:
    margins, good = sample(500, 2.0)
    assert measure.fit_platt(-margins, good).slope > 0
    perfect = measure.fit_platt(np.where(good, 1.0, -1.0), good)
    low, high = perfect.probabilities(np.array([-1.0, 1.0]))
    assert 0 < low < 0.05 and 0.95 < high < 1


def test_groups_and_sides_do_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(1)
    words = [f"word{n}" for n in range(500)]
    texts = [" ".join(rng.choice(words, 120)) for _ in range(40)]
    texts += [f"{text} and a little more" for text in texts[:10]]
    ids = [f"{n:04d}" for n in range(50)]
    groups = near_duplicates([*texts, "", ""])
    assert groups[:50].tolist() == [*range(40), *range(10)]
    order = rng.permutation(50)
    mixed = near_duplicates([texts[n] for n in order])
    there = side([ids[n] for n in order], mixed, 3)
    assert there.tolist() == side(ids, groups[:50], 3)[order].tolist()
    assert side(ids, groups[:50], 3).tolist() != side(ids, groups[:50], 4).tolist()
