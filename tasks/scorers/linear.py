"""A linear probe on document vectors: logistic regression, or ridge regression on a rubric's score.

Symbols: N documents, D dimensions; X_ND their vectors, w_D the weights, b the bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from infra.stage import StageError

MODEL_FILE = "weights.npy"

Floats = npt.NDArray[np.float64]

_STEPS = 50


@dataclass(frozen=True)
class Probe:
    """`weights_D`: float64; `bias`."""

    weights_D: Floats
    bias: float

    def margins(self, vectors_ND: Floats) -> Floats:
        """The margin of each vector; NaN for a vector of zeros (an empty document).

        Raises:
            StageError: vectors of another size.
        """
        if vectors_ND.shape[1] != len(self.weights_D):
            raise StageError(
                f"the classifier reads vectors of {len(self.weights_D)} dimensions, and these have "
                f"{vectors_ND.shape[1]}: they are of another embedding model; train it again"
            )
        # a sum over each row by itself: the same whatever rows are beside it
        found: Floats = np.einsum("nd,d->n", vectors_ND, self.weights_D) + self.bias
        found[~vectors_ND.any(axis=1)] = np.nan
        return found

    def write(self, stream: IO[bytes]) -> None:
        """Write weights and, last, the bias."""
        np.save(stream, np.append(self.weights_D, self.bias), allow_pickle=False)

    @classmethod
    def read(cls, path: Path) -> Probe:
        """The inverse of `write`."""
        values = np.load(path, allow_pickle=False)
        return cls(values[:-1], float(values[-1]))


def fit_ridge(vectors_ND: Floats, scores_N: Floats, l2: float) -> Probe:
    """Weights that minimise |X w + b - y|^2 / N + l2 |w|^2, in closed form."""
    mean, center = vectors_ND.mean(axis=0), float(scores_N.mean())
    centered = vectors_ND - mean
    gram = centered.T @ centered / len(scores_N) + l2 * np.eye(vectors_ND.shape[1])
    weights = np.linalg.solve(gram, centered.T @ (scores_N - center) / len(scores_N))
    return Probe(weights, center - float(mean @ weights))


def fit_logistic(vectors_ND: Floats, good_N: npt.NDArray[np.bool_], l2: float) -> Probe:
    """Logistic regression with penalty l2 |w|^2 / 2 on the mean loss, by Newton's method."""
    rows = np.hstack([vectors_ND, np.ones((len(good_N), 1))])
    penalty = np.append(np.full(vectors_ND.shape[1], l2), 0.0)
    target = good_N.astype(np.float64)
    share = float(np.clip(target.mean(), 1e-6, 1 - 1e-6))
    w = np.zeros(rows.shape[1])
    w[-1] = np.log(share / (1 - share))
    loss = _loss(rows, target, w, penalty)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(rows @ w, -500, 500)))
        gradient = rows.T @ (p - target) / len(target) + penalty * w
        weight = np.maximum(p * (1 - p), 1e-9) / len(target)
        hessian = (rows * weight[:, None]).T @ rows + np.diag(penalty + 1e-12)
        step, size = np.linalg.solve(hessian, gradient), 1.0
        while (tried := _loss(rows, target, w - size * step, penalty)) > loss and size > 1e-4:
            size /= 2
        if loss - tried < 1e-9:
            break
        w, loss = w - size * step, tried
    return Probe(w[:-1], float(w[-1]))


def _loss(rows: Floats, target: Floats, w: Floats, penalty: Floats) -> float:
    z = rows @ w
    return float(np.mean(np.logaddexp(0, z) - target * z) + (penalty * w * w).sum() / 2)
