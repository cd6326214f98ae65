"""Where rows of falling lengths are cut into passes, so that little is spent on padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

_OVERHEAD = 32
"""Tokens in whose time a pass is prepared and its weights are read, on a processor."""

_ENOUGH_ON_A_GPU = 512
"""Tokens of a pass that a GPU reads in the time of fewer."""


def cuts(lengths: Sequence[int], most: int, *, gpu: bool) -> Iterator[slice]:
    """Slices of rows, each a pass, that cost least together.

    A pass costs its rows times its longest row, and an overhead; on a GPU, at least what
    `_ENOUGH_ON_A_GPU` tokens cost.

    Args:
        lengths: tokens of each row, falling.
        most: rows of a pass.
    """
    count = len(lengths)
    longest = np.asarray(lengths, dtype=np.int64)
    best = np.zeros(count + 1, dtype=np.int64)  # cost of the first n rows
    first = np.zeros(count + 1, dtype=np.int64)  # where the last pass of these begins
    for stop in range(1, count + 1):
        low = max(0, stop - max(1, most))
        tokens = longest[low:stop] * np.arange(stop - low, 0, -1)
        passes = np.maximum(tokens, _ENOUGH_ON_A_GPU) if gpu else tokens
        costs = best[low:stop] + passes + _OVERHEAD
        at = int(costs.argmin())
        best[stop], first[stop] = costs[at], low + at
    found = []
    stop = count
    while stop:
        found.append(slice(int(first[stop]), stop))
        stop = int(first[stop])
    yield from reversed(found)
