"""How sure a prediction is.

- Of a loss that will be measured: jackknife+ (Barber et al. 2021, arXiv:1905.02928). Each proxy is
  left out once; the fits without them, and by how much these miss them, give an interval that has
  the noise of training and the faults of the law in it. It asks for no distribution; for proxies
  and a new model drawn alike it holds at level 1 - 2a at least, and near 1 - a in practice.
- Of the law itself (the mean over many such trainings): bootstrap over proxies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.mixture.laws import Floats


def jackknife_plus(left_out_PM: Floats, misses_P: Floats, level: float) -> tuple[Floats, Floats]:
    """(lower, upper) ends of M intervals.

    Args:
        left_out_PM: prediction of point m by the fit without proxy p.
        misses_P: |loss of proxy p - its prediction by the fit without it|.
        level: such as 0.9. Of too few proxies for it, the widest interval there is.
    """
    count = len(misses_P)
    low, high = left_out_PM - misses_P[:, None], left_out_PM + misses_P[:, None]
    rank = min(count, math.ceil(level * (count + 1) - 1e-9))
    return np.sort(low, 0)[count - rank], np.sort(high, 0)[rank - 1]


def resamples(count: int, number: int, seed: int = 0) -> list[NDArray[np.float64]]:
    """`number` bootstrap weights of `count` proxies: how often each was drawn."""
    rng = np.random.RandomState(seed)  # its stream is frozen (NEP 19)
    return [
        np.bincount(rng.randint(0, count, count), minlength=count).astype(np.float64)
        for _ in range(number)
    ]


def percentiles(values: Sequence[float], level: float) -> tuple[float, float]:
    """The ends of the interval that leaves out as much below as above."""
    low, high = np.quantile(np.asarray(values), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
