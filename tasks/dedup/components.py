"""Connected components: which documents can meet in the election, and their batches.

1. `join`: documents that share a group are joined by union-find over an array (8 bytes a document).
   Every root is the smallest number of its component, paths are halved on the way (Tarjan, van
   Leeuwen, "Worst-case analysis of set union algorithms", JACM 1984).
2. `deal`: components are dealt into batches in order of their first document. They never interact,
   so batches can be elected side by side. Documents in no group are elected without an election.

Importing this module compiles the loops.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from tasks.text.compiled import compiled

BYTES_PER_DOCUMENT = 8

Numbers = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Batches:
    """`of[number]` is 1 + the batch of a document, 0 where it meets no other.

    `sizes[batch]` is the number of its documents.
    """

    of: Numbers
    sizes: npt.NDArray[np.int64]


def join(documents: int, groups: Iterable[tuple[npt.NDArray[Any], Numbers]]) -> Numbers:
    """Union-find parents: the root of every document is the first document of its component.

    `groups`: blocks of (sizes of groups, their members one after another). The components do not
    depend on the order of groups or members.
    """
    parent = np.arange(documents, dtype=np.uint32)
    for sizes, members in groups:
        _unite(parent, sizes.astype(np.int64), members)
    return parent


def deal(component: Numbers, most: int) -> Batches:
    """Deal components of two or more documents into batches of up to `most` documents.

    In order; a component larger than that is a batch by itself. `component` is overwritten.
    """
    counts = np.zeros(len(component), np.uint32)
    batches = _deal(component, counts, most)
    return Batches(component, np.bincount(component, minlength=batches + 1)[1:].astype(np.int64))


_UINT32 = types.uint32[::1]


@compiled(types.int64(_UINT32, types.int64))
def _root(parent: Any, number: Any) -> Any:
    """The smallest number of a document's component; halves the path to it on the way."""
    while np.int64(parent[number]) != number:
        parent[number] = parent[parent[number]]
        number = np.int64(parent[number])
    return number


@compiled(types.void(_UINT32, types.int64[::1], _UINT32))
def _unite(parent: Any, sizes: Any, members: Any) -> None:
    """Join the members of every group; `members` are those of one group after another."""
    start = 0
    for group in range(sizes.shape[0]):
        first = _root(parent, np.int64(members[start]))
        for member in range(start + 1, start + sizes[group]):
            other = _root(parent, np.int64(members[member]))
            # The smaller number becomes the root, so the result does not depend on the order.
            if other < first:
                parent[first] = other
                first = other
            else:
                parent[other] = first
        start += sizes[group]


@compiled(types.int64(_UINT32, _UINT32, types.int64))
def _deal(component: Any, counts: Any, most: Any) -> Any:
    """Replace each document's component by 1 + its batch, or 0; returns the number of batches.

    `counts` (zeros, one a document) is used first for the sizes of components, then, by the same
    index, for their batches.
    """
    for number in range(component.shape[0]):
        component[number] = _root(component, number)
        counts[component[number]] += 1
    batch = 1
    filled = 0
    for number in range(component.shape[0]):
        size = int(counts[number])
        if size < 2:
            counts[number] = 0
            continue
        if filled and filled + size > most:
            batch += 1
            filled = 0
        counts[number] = batch
        filled += size
    for number in range(component.shape[0]):
        component[number] = counts[component[number]]
    return batch if filled else 0
