"""Cut-offs of sampling curves: which scores lie below a percentile, in memory that does not grow.

A percentile is a place in the order of a source's documents of one language. Where it falls among
documents of equal score, a hash of the id decides which of them are below it, so that any scores,
even all equal ones, are divided into the shares that the curve states (`Cutoff`).

As for perplexity (`tasks.cut.percentiles`), a first pass counts scores in bins, by the upper bits
of their float64, and a second collects the values of those bins that a cut-off lies in. Scores may
be negative; the bits are turned so that they order as the numbers do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_BIN_SHIFT = np.uint64(40)
"""4,096 bins for each power of two: some 40,000 for probabilities above 0.001."""

_SIGN = np.uint64(1 << 63)


@dataclass(frozen=True)
class Cutoff:
    """A document is below it if its score is below `value`, or equal and its hash below `share`."""

    value: float
    share: float

    def below(self, scores: Floats, ties: Floats) -> npt.NDArray[np.bool_]:
        """Which of N documents are below, by their scores and hashes in [0, 1)."""
        found: npt.NDArray[np.bool_] = (scores < self.value) | (
            (scores == self.value) & (ties < self.share)
        )
        return found


def bins_of(scores: Floats) -> npt.NDArray[np.uint64]:
    """The bin of each score; bins order as scores do."""
    bits = np.ascontiguousarray(scores + 0.0).view(np.uint64)  # -0.0 and 0.0 are equal
    turned = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    found: npt.NDArray[np.uint64] = turned >> _BIN_SHIFT
    return found


def count_bins(scores: Floats) -> dict[int, int]:
    """Bin -> how many of the scores are in it."""
    bins, counts = np.unique(bins_of(scores), return_counts=True)
    return dict(zip(bins.tolist(), counts.tolist(), strict=True))


def values_in_bins(scores: Floats, wanted: Iterable[int]) -> dict[float, int]:
    """Score -> how often it occurs, for scores in the wanted bins."""
    inside = scores[np.isin(bins_of(scores), np.array(sorted(wanted), np.uint64))]
    values, counts = np.unique(inside + 0.0, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def wanted_bins(bins: Mapping[int, int], percents: Sequence[float]) -> set[int]:
    """The bins in which cut-offs at these percentiles lie."""
    order = sorted(bins)
    ends = np.cumsum([bins[key] for key in order])
    return {
        order[int(np.searchsorted(ends, _below(percent, int(ends[-1])), side="right"))]
        for percent in percents
    }


def cutoffs(
    bins: Mapping[int, int], values: Mapping[float, int], percents: Sequence[float]
) -> tuple[Cutoff, ...]:
    """The cut-off of each percentile, from the counts of all bins and the values of the wanted
    ones.
    """
    order = sorted(bins)
    starts = dict(
        zip(order, np.cumsum([0, *(bins[key] for key in order)])[:-1].tolist(), strict=True)
    )
    seen: Counter[int] = Counter()
    placed = []  # (value, documents with a lower score, documents with this one), ascending
    for value in sorted(values):
        bin_ = int(bins_of(np.array([value]))[0])
        placed.append((value, starts[bin_] + seen[bin_], values[value]))
        seen[bin_] += values[value]
    total = sum(bins.values())
    found = []
    for percent in percents:
        wanted = _below(percent, total)
        value, lower, equal = next(
            (value, lower, equal)
            for value, lower, equal in placed
            if lower <= wanted < lower + equal
        )
        found.append(Cutoff(value, (wanted - lower) / equal))
    return tuple(found)


def _below(percent: float, total: int) -> float:
    """How many of `total` documents are below a percentile (below 100); may be a fraction, which
    the hash of the document there decides.
    """
    return total * percent / 100


def steps_of(scores: Floats, ties: Floats, limits: Sequence[Cutoff]) -> npt.NDArray[np.int64]:
    """The step (from 0) of each of N documents: how many ascending cut-offs it has passed."""
    steps = np.zeros(len(scores), np.int64)
    for limit in limits:
        steps += ~limit.below(scores, ties)
    return steps
