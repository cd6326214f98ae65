"""Shingle sets of many documents in one array, and their Jaccard similarities.

Importing this module compiles the comparison (about a second).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from tasks.text.compiled import compiled


@dataclass(frozen=True)
class ShingleSets:
    """`values[starts[r]:starts[r] + sizes[r]]` are document r's distinct shingle hashes, ascending.

    `values` may be memory-mapped; `sizes[r]` is 0 where document r was not loaded.
    """

    values: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


def first_similar(sets: ShingleSets, document: int, others: npt.NDArray[np.int64], verify: float) -> tuple[int, float]:
    """(position in `others`, Jaccard similarity) of the first document of at least `verify`, or (-1, 0.0)."""
    position, jaccard = _first_similar(sets.values, sets.starts, sets.sizes, document, others, verify)
    return int(position), float(jaccard)


_SETS_IN = types.Array(types.uint64, 1, "C", readonly=True)
_INTS = types.int64[::1]


@compiled(types.Tuple((types.int64, types.float64))(_SETS_IN, _INTS, _INTS, types.int64, _INTS, types.float64))
def _first_similar(values: Any, starts: Any, sizes: Any, document: Any, others: Any, verify: Any) -> Any:
    size = sizes[document]
    start = starts[document]
    for position in range(others.shape[0]):
        other_size = sizes[others[position]]
        other_start = starts[others[position]]
        # |A and B| / |A or B| <= min / max, in rounded arithmetic too: division rounds monotonically.
        if min(size, other_size) / max(size, other_size) < verify:
            continue
        # The intersection must reach this; one less than the bound, so that rounding never decides.
        needed = np.int64(np.floor(verify / (1.0 + verify) * (size + other_size))) - 1
        i = j = common = 0
        while i < size and j < other_size and common + min(size - i, other_size - j) >= needed:
            one = values[start + i]
            two = values[other_start + j]
            common += one == two
            i += one <= two
            j += two <= one
        if i < size and j < other_size:
            continue
        jaccard = common / (size + other_size - common)
        if jaccard >= verify:
            return position, jaccard
    return -1, 0.0
