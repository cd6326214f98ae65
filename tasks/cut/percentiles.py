"""Exact percentiles of values in many files, in memory that does not grow with their number.

1. The bits of a positive float64, read as an integer, order as the float does. The upper 20 bits
   name a bin: 256 bins per power of two, so that perplexities from 1 to 1e6 fall into some 5,100.
2. A first pass counts the values in each bin (`count_bins`).
3. The counts tell which bins hold the wanted order statistics (`wanted_bins`).
4. A second pass collects only the values in those bins (`values_in_bins`).
5. `percentile` interpolates as `numpy.percentile(..., method="linear")` does, to the bit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_BIN_SHIFT = np.uint64(44)
"""float64 has 52 bits of mantissa, 8 of which are part of the bin."""

_HISTOGRAM_SHIFT = 5
"""Histograms that are shown have bars of 32 bins: 8 bars per power of two."""


def _bins(values: Floats) -> npt.NDArray[np.uint64]:
    wrong = ~(values > 0)  # also NaN
    if wrong.any():
        raise ValueError(
            f"a perplexity is {values[wrong][0]}; it must be above 0: score the source again"
        )
    bins: npt.NDArray[np.uint64] = np.ascontiguousarray(values).view(np.uint64) >> _BIN_SHIFT
    return bins


def count_bins(values: Floats) -> dict[int, int]:
    """Bin -> how many of the values are in it. ValueError if a value is not above 0."""
    bins, counts = np.unique(_bins(values), return_counts=True)
    return dict(zip(bins.tolist(), counts.tolist(), strict=True))


def values_in_bins(values: Floats, wanted: Iterable[int]) -> dict[float, int]:
    """Value -> how often it occurs, for values in the wanted bins."""
    inside = values[np.isin(_bins(values), np.array(sorted(wanted), np.uint64))]
    unique, counts = np.unique(inside, return_counts=True)
    return dict(zip(unique.tolist(), counts.tolist(), strict=True))


def _ranks(count: int, percent: float) -> tuple[int, int, float]:
    """The two order statistics (from 0) to interpolate between, and how far."""
    position = (count - 1) * (percent / 100)
    below = min(math.floor(position), count - 1)
    return below, min(below + 1, count - 1), position - below


def wanted_bins(bins: Mapping[int, int], percents: Iterable[float]) -> set[int]:
    """The bins that hold the order statistics of these percentiles."""
    order = sorted(bins)
    last_rank = np.cumsum([bins[key] for key in order]) - 1
    count = int(last_rank[-1]) + 1
    ranks = {rank for percent in percents for rank in _ranks(count, percent)[:2]}
    return {order[int(np.searchsorted(last_rank, rank))] for rank in ranks}


def percentile(bins: Mapping[int, int], values: Mapping[float, int], percent: float) -> float:
    """The percentile of all values, from the counts of all bins and the values of the wanted
    ones.
    """
    order = sorted(bins)
    first_rank = dict(
        zip(order, np.cumsum([0, *(bins[key] for key in order)])[:-1].tolist(), strict=True)
    )
    seen: Counter[int] = Counter()
    placed = []  # (last rank, value), ascending
    for value in sorted(values):
        bin_ = int(_bins(np.array([value]))[0])
        seen[bin_] += values[value]
        placed.append((first_rank[bin_] + seen[bin_] - 1, value))
    below, above, fraction = _ranks(sum(bins.values()), percent)
    low, high = (next(value for last, value in placed if last >= rank) for rank in (below, above))
    if fraction >= 0.5:  # numpy's _lerp, which is exact at both ends
        return high - (high - low) * (1 - fraction)
    return low + (high - low) * fraction


def histogram(bins: Mapping[int, int]) -> dict[str, list[float] | list[int]]:
    """`low`: lower edges of adjacent bars, 8 per power of two; `documents`: values in each."""
    joined: Counter[int] = Counter()
    for key, count in bins.items():
        joined[key >> _HISTOGRAM_SHIFT] += count
    bars = range(min(joined, default=0), max(joined, default=-1) + 1)
    edges = np.array([bar << _HISTOGRAM_SHIFT for bar in bars], np.uint64) << _BIN_SHIFT
    return {
        "low": [round(edge, 4) for edge in edges.view(np.float64).tolist()],
        "documents": [joined[b] for b in bars],
    }
