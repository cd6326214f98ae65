"""Greedy election among given pairs: the definition of `tasks.semantic.stage`, in one pass.

Example: b is preferred to c, c to d; b~c and c~d are near, b~d is not. b stays, c goes in its
favour; d stays, since c, the only one it is near, is gone.

Importing this module compiles the loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from tasks.text.compiled import compiled

_RANKS = types.int32[::1]


def elect(
    one: npt.NDArray[np.int32],
    other: npt.NDArray[np.int32],
    cosine: npt.NDArray[np.float32],
    settled: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """(who represents each of n documents, the cosine to it); documents are given by rank.

    `one`, `other`, `cosine`: m near pairs, in any order. `settled`, shape (n,): kept in advance.
    """
    earlier, later = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((earlier, later))
    earlier = np.ascontiguousarray(earlier[order])
    starts = np.searchsorted(later[order], np.arange(len(settled) + 1)).astype(np.int64)
    representative = np.arange(len(settled), dtype=np.int32)
    similarity = np.ones(len(settled), np.float32)
    _elect_loop(
        earlier, np.ascontiguousarray(cosine[order]), starts, settled, representative, similarity
    )
    return representative, similarity


@compiled(
    types.void(
        _RANKS,
        types.float32[::1],
        types.int64[::1],
        types.boolean[::1],
        _RANKS,
        types.float32[::1],
    )
)
def _elect_loop(
    earlier: Any, cosine: Any, starts: Any, settled: Any, representative: Any, similarity: Any
) -> None:
    """`earlier[starts[r]:starts[r + 1]]` ascend: the first that is kept represents r."""
    for rank in range(settled.shape[0]):
        if settled[rank]:
            continue
        for index in range(starts[rank], starts[rank + 1]):
            if representative[earlier[index]] == earlier[index]:
                representative[rank] = earlier[index]
                similarity[rank] = cosine[index]
                break
