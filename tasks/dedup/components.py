"""Which documents can meet in the election, and how they are dealt into batches.

Documents that share a group are joined (union-find over arrays, 8 bytes a document), so that
components never interact and batches of components can be elected side by side. Documents without a
group are elected already.

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
    """`of[number]` is 1 + the batch of a document, 0 where it meets no other; `sizes[batch]` its
    documents.
    """

    of: Numbers
    sizes: npt.NDArray[np.int64]


def join(documents: int, groups: Iterable[tuple[npt.NDArray[Any], Numbers]]) -> Numbers:
    """The component of every document: the number of its first document. `groups`: (sizes, members
    one after another).

    The result does not depend on the order of groups or members.
    """
    parent = np.arange(documents, dtype=np.uint32)
    for sizes, members in groups:
        _unite(parent, sizes.astype(np.int64), members)
    return parent


def deal(component: Numbers, most: int) -> Batches:
    """Deal components of two and more, in order, into batches of up to `most` documents; a larger
    one goes alone.

    `component` is used up.
    """
    counts = np.zeros(len(component), np.uint32)
    batches = _deal(component, counts, most)
    return Batches(component, np.bincount(component, minlength=batches + 1)[1:].astype(np.int64))


_UINT32 = types.uint32[::1]


@compiled(types.int64(_UINT32, types.int64))
def _root(parent: Any, number: Any) -> Any:
    while np.int64(parent[number]) != number:
        parent[number] = parent[parent[number]]
        number = np.int64(parent[number])
    return number


@compiled(types.void(_UINT32, types.int64[::1], _UINT32))
def _unite(parent: Any, sizes: Any, members: Any) -> None:
    at = 0
    for group in range(sizes.shape[0]):
        first = _root(parent, np.int64(members[at]))
        for member in range(at + 1, at + sizes[group]):
            other = _root(parent, np.int64(members[member]))
            if other < first:
                parent[first] = other
                first = other
            else:
                parent[other] = first
        at += sizes[group]


@compiled(types.int64(_UINT32, _UINT32, types.int64))
def _deal(component: Any, counts: Any, most: Any) -> Any:
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
