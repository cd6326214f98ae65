"""How well a classifier separates good documents from others: AUC, calibration, Platt's scaling.

Symbols: N held-out documents; margins_N what the classifier says of each, the larger the better;
good_N whether each is good. All arrays float64 or bool of shape (N,). NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.scorers.meta import sigmoid

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

RESAMPLES = 1_000
BINS = 10
_BATCH = 50


@dataclass(frozen=True)
class Platt:
    """Probability that a document of margin m is good: 1 / (1 + exp(-(slope * m + offset)))."""

    slope: float
    offset: float

    def probabilities(self, margins_N: Floats) -> Floats:
        """Strictly increasing in the margin, so that ranks and percentiles stay."""
        return sigmoid(self.slope * margins_N + self.offset)


_LEAST_SLOPE = 1e-3
"""A classifier that ranks held-out documents the wrong way round is not turned around."""


def fit_platt(margins_N: Floats, good_N: Bools) -> Platt:
    """Platt's sigmoid with his smoothed targets (Platt 1999), by Newton's method as Lin, Lin and
    Weng (2007) have it. Both kinds of documents must occur.
    """
    positive, negative = np.count_nonzero(good_N), np.count_nonzero(~good_N)
    targets = np.where(good_N, (positive + 1) / (positive + 2), 1 / (negative + 2))
    center, scale = float(np.mean(margins_N)), float(np.std(margins_N)) or 1.0
    x = (margins_N - center) / scale
    slope, offset = 1.0, float(np.log((positive + 1) / (negative + 1)))
    loss = _loss(slope, offset, x, targets)
    for _ in range(100):
        p = Platt(slope, offset).probabilities(x)
        residual, weight = p - targets, np.maximum(p * (1 - p), 1e-12)
        gradient = np.array([residual @ x, residual.sum()])
        hessian = np.array([[weight @ (x * x), weight @ x], [weight @ x, weight.sum()]])
        step = np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient)
        size = 1.0
        while size > 1e-6:
            tried = _loss(slope - size * step[0], offset - size * step[1], x, targets)
            if tried < loss:
                break
            size /= 2
        else:
            break
        slope, offset = slope - size * step[0], offset - size * step[1]
        if loss - tried < 1e-10 * abs(loss):
            break
        loss = tried
    slope = max(slope, _LEAST_SLOPE)
    return Platt(float(slope / scale), float(offset - slope * center / scale))


def _loss(slope: float, offset: float, x: Floats, targets: Floats) -> float:
    z = slope * x + offset
    return float(np.sum(np.logaddexp(0, z) - targets * z))


def auc(margins_N: Floats, good_N: Bools) -> float:
    """Probability that a good document has a larger margin than another; a tie counts half."""
    return float(_aucs(margins_N, good_N, np.ones((1, len(good_N))))[0])


def auc_interval(
    margins_N: Floats, good_N: Bools, groups_N: npt.NDArray[np.int64], seed: int = 0
) -> tuple[float, float]:
    """The middle 95 % of AUCs over bootstrap samples of groups of near duplicates."""
    rng = np.random.Generator(np.random.PCG64(seed))
    _, place = np.unique(groups_N, return_inverse=True)
    count = int(place.max()) + 1
    found: list[float] = []
    for start in range(0, RESAMPLES, _BATCH):
        rows = min(_BATCH, RESAMPLES - start)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=rows)
        found += _aucs(margins_N, good_N, drawn[:, place].astype(np.float64)).tolist()
    kept = np.array(found)[~np.isnan(found)]
    if not len(kept):
        return 0.0, 1.0
    low, high = np.percentile(kept, [2.5, 97.5])
    return float(low), float(high)


def _aucs(margins_N: Floats, good_N: Bools, weights_BN: Floats) -> Floats:
    """AUC for each of B rows of weights; NaN where one kind has none."""
    order = np.argsort(margins_N, kind="stable")
    values, good, weights = margins_N[order], good_N[order], weights_BN[:, order]
    starts = np.flatnonzero(np.diff(values, prepend=-np.inf))
    ups = np.add.reduceat(np.where(good, weights, 0.0), starts, axis=1)
    downs = np.add.reduceat(np.where(good, 0.0, weights), starts, axis=1)
    below = np.cumsum(downs, axis=1) - downs
    pairs = ups.sum(axis=1) * downs.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = (ups * (below + downs / 2)).sum(axis=1) / pairs
    return found


def reliability(probabilities_N: Floats, good_N: Bools) -> list[dict[str, Any]]:
    """For each tenth of probabilities with documents: `low`, `high`, `documents`, `mean`
    (probability), `good` (share that is).
    """
    place = np.minimum((probabilities_N * BINS).astype(np.int64), BINS - 1)
    rows = []
    for bin_ in range(BINS):
        inside = place == bin_
        if inside.any():
            rows.append(
                {
                    "low": bin_ / BINS,
                    "high": (bin_ + 1) / BINS,
                    "documents": int(inside.sum()),
                    "mean": float(probabilities_N[inside].mean()),
                    "good": float(good_N[inside].mean()),
                }
            )
    return rows


def calibration_error(rows: list[dict[str, Any]]) -> float:
    """Expected calibration error: |mean probability - share that is good|, over documents."""
    total = sum(row["documents"] for row in rows)
    return float(sum(row["documents"] * abs(row["mean"] - row["good"]) for row in rows) / total)


def brier(probabilities_N: Floats, good_N: Bools) -> float:
    """Mean squared difference of probabilities and truth."""
    return float(np.mean((probabilities_N - good_N) ** 2))


def crossed(margins_N: Floats, good_N: Bools, folds_N: npt.NDArray[np.int64]) -> Floats:
    """Probabilities of each fold by Platt's sigmoid of the others, so that calibration is measured
    on documents that it was not fitted to. A fold whose others lack a kind takes all.
    """
    found = np.empty_like(margins_N)
    for fold in np.unique(folds_N):
        inside = folds_N == fold
        others = ~inside
        if len({*good_N[others].tolist()}) < 2:
            others = np.ones_like(inside)
        platt = fit_platt(margins_N[others], good_N[others])
        found[inside] = platt.probabilities(margins_N[inside])
    return found
