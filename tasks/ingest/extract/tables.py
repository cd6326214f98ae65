"""Hash tables for compiled loops, whose keys are hashes already.

The keys of a table are uint64 (2**K,), at most half of them taken; 0 is a free place. A key stands
at its lowest K bits or at the next free place, so that one look finds most, and most of those that
are not there too. Its values are arrays beside the keys.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from tasks.ingest.extract.columns import HASHES
from tasks.text.compiled import compiled

_ZERO, _ONE = np.uint64(0), np.uint64(1)


def empty(count: int) -> npt.NDArray[np.uint64]:
    """The keys of a table for so many."""
    return np.zeros(1 << (2 * count).bit_length(), np.uint64)


@compiled(types.int64(HASHES, types.uint64))
def lookup(keys: Any, key: Any) -> Any:
    """Place of a key; -1 where it is not there."""
    last = np.uint64(keys.shape[0]) - _ONE
    at = key & last
    while keys[at] != key:
        if keys[at] == _ZERO:
            return -1
        at = (at + _ONE) & last
    return np.int64(at)


@compiled(types.int64(types.uint64[::1], types.uint64))
def place(keys: Any, key: Any) -> Any:
    """The same, and put there where it is not."""
    last = np.uint64(keys.shape[0]) - _ONE
    at = key & last
    while keys[at] != key and keys[at] != _ZERO:
        at = (at + _ONE) & last
    keys[at] = key
    return np.int64(at)
