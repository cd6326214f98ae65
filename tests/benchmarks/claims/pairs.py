"""By how much one arm is better than another, with an interval over seeds and items.

Both arms have the same seeds and are asked the same items (held-out documents, questions), so they
are compared pair by pair. A gain of another seed or of other items would differ; the interval has
both, as the variance of a mean over two crossed random effects:

    variance = (between seeds + between items - residual) / (seeds x items)

of the mean squares of a two-way table without repetition (Searle, Casella and McCulloch 1992,
section 4.5), with Satterthwaite's degrees of freedom. Arrays: S seeds, I items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Gain:
    """The mean of both arms, the first's gain, and half its 95 % interval, in the score's unit."""

    first: float
    other: float
    mean: float
    half: float

    @property
    def verdict(self) -> str:
        """What the interval says of the claim that the first arm is better."""
        if self.mean > self.half:
            return "holds"
        return "the reverse" if -self.mean > self.half else "does not show at this scale"


def gain(first_SI: Table, other_SI: Table, sizes_I: Table, less_is_better: bool) -> Gain:
    """Compare two arms.

    Args:
        first_SI, other_SI: what each item came to (bits of a document, 1 or 0 of a question) with
            each seed.
        sizes_I: what items are divided by (bytes of a document, 1 of a question): a score is the
            sum over items by the sum of sizes.

    Raises:
        ValueError: fewer than two seeds or items, or tables of different shapes.
    """
    if first_SI.shape != other_SI.shape or first_SI.shape[1:] != sizes_I.shape:
        raise ValueError(
            f"arms of {first_SI.shape} and {other_SI.shape} (seeds, items) with {len(sizes_I)} "
            "sizes cannot be paired; both must be asked the same items with the same seeds"
        )
    seeds, items = first_SI.shape
    if min(seeds, items) < 2:
        raise ValueError(
            f"{seeds} seeds and {items} items have no interval; at least 2 of both are needed"
        )
    size = sizes_I.mean()
    differences_SI = (first_SI - other_SI) / size * (-1 if less_is_better else 1)
    gains_S = differences_SI.mean(1)
    # Linearised, so that a ratio of sums has the variance of a mean (the ratio estimator).
    effects_SI = differences_SI - np.outer(gains_S, sizes_I / size - 1)
    variance, freedom = variance_of_mean(effects_SI)
    return Gain(
        first=float(first_SI.mean() / size),
        other=float(other_SI.mean() / size),
        mean=float(gains_S.mean()),
        half=float(student.ppf(0.975, freedom) * np.sqrt(variance)) if variance else 0.0,
    )


def variance_of_mean(effects_SI: Table) -> tuple[float, float]:
    """(variance of the mean over seeds and items, its degrees of freedom).

    The sum of mean squares can come out smaller than either of its parts; the larger part then
    stands, which errs towards a wider interval.
    """
    seeds, items = effects_SI.shape
    mean = effects_SI.mean()
    of_seeds_S, of_items_I = effects_SI.mean(1), effects_SI.mean(0)
    rest_SI = effects_SI - of_seeds_S[:, None] - of_items_I[None, :] + mean
    number = seeds * items
    # Mean squares divided by the number of cells, each with its degrees of freedom.
    between_seeds = items * float(((of_seeds_S - mean) ** 2).sum()) / (seeds - 1) / number
    between_items = seeds * float(((of_items_I - mean) ** 2).sum()) / (items - 1) / number
    residual = float((rest_SI**2).sum()) / ((seeds - 1) * (items - 1)) / number
    total = between_seeds + between_items - residual
    if total <= max(between_seeds, between_items):
        if between_seeds >= between_items:
            return between_seeds, seeds - 1
        return between_items, items - 1
    squares = (
        between_seeds**2 / (seeds - 1)
        + between_items**2 / (items - 1)
        + residual**2 / ((seeds - 1) * (items - 1))
    )
    return total, total**2 / squares
