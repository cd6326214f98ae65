"""Greedy election: which documents stay.

Documents come in order of preference; a document's index here is its rank, 0 the most preferred.
Definition:

    A document goes if and only if an already elected one either has the same text hash, or shares a
    band key with it and has a Jaccard similarity of at least `verify` with it. The first such one
    in rank stands for it.

There is no transitive closure: A~B~C does not remove C unless C is itself similar to A. Settled
documents (those of earlier crawls) are elected whatever they are similar to.

Copies of a text share hash, band keys and similarities, so that the caller leaves all but the first
of each out. A group is the documents that share one band's key. Documents are compared with the
elected ones of their groups only, so that a group of near duplicates costs one comparison a
document. A group of many elected documents (thousands that share a template and little else) would
cost a comparison for each pair; beyond `HOT` of them it is searched through an index instead
(`tasks.dedup.prefixes`), which changes the work and not the result.

Importing this module compiles the loops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from tasks.dedup.prefixes import (
    DOCUMENT,
    INDEX,
    NEXT,
    POSITION,
    SHINGLE,
    TOUCHED_BYTES,
    add,
    empty_index,
    grown,
    prefix,
    put_in_order,
    release,
    size_class,
    slot_of,
)
from tasks.dedup.similarity import ROUNDING, SETS, Sets, fill_bitmap, in_common, jaccard, within
from tasks.text.compiled import compiled

HOT = 64
"""Elected documents up to which a group is searched one by one."""

Ranks = npt.NDArray[np.int32]

_DONE, _READ, _GROW = range(3)
_AT, _TOUCHED, _COMPARED, _VERIFIED = range(4)  # places in `state`


@dataclass(frozen=True)
class Candidates:
    """Documents in order of rank, with n documents and m memberships; `sets` are their shingles.

    `groups[group_starts[r]:group_starts[r + 1]]` are the numbers, ascending, of the groups that r
    belongs to.
    """

    sets: Sets
    group_starts: npt.NDArray[np.int64]  # (n + 1,)
    groups: npt.NDArray[np.int32]  # (m,)
    settled: npt.NDArray[np.bool_]  # (n,): elected already


@dataclass(frozen=True)
class Election:
    """`representative[r]` is the rank of the document that stands for r, r itself where r is
    elected.

    `similarity[r]` is the Jaccard similarity to it, 1 for r itself. Counts: pairs whose shingles
    were compared, pairs that reached `verify`, documents that were put into the index.
    """

    representative: Ranks
    similarity: npt.NDArray[np.float32]
    compared: int
    verified: int
    indexed: int


class _Groups(NamedTuple):
    """Who is in which group, and who of them is elected: `lists[list_starts[g]:list_starts[g] +
    counts[g]]`, ascending.

    `indexed[g]` of them are in the index.
    """

    starts: npt.NDArray[np.int64]  # (n + 1,), see Candidates.group_starts
    groups: npt.NDArray[np.int32]
    list_starts: npt.NDArray[np.int64]
    lists: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    indexed: npt.NDArray[np.int32]


class _Found(NamedTuple):
    """The election so far. `seen[d]` is the last document that d was compared with, + 1."""

    representative: Ranks
    similarity: npt.NDArray[np.float32]
    seen: npt.NDArray[np.int32]
    state: npt.NDArray[np.int64]


def elect(candidates: Candidates, verify: float, memory: int = 1 << 62, hot: int = HOT) -> Election:
    """Elect among documents (see the module's docstring); `memory` bounds the index of hot groups,
    in bytes.

    Raises `IndexTooLarge`.
    """
    values = candidates.sets.values.view()
    values.flags.writeable = (
        False  # as a file mapped for reading is; the loops are compiled for one kind
    )
    sets = candidates.sets._replace(values=values)
    documents = len(sets.sizes)
    sizes = np.bincount(candidates.groups, minlength=1)
    list_starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    groups = _Groups(
        candidates.group_starts,
        candidates.groups,
        list_starts,
        np.empty(len(candidates.groups), np.int32),
        np.zeros(len(sizes), np.int32),
        np.zeros(len(sizes), np.int32),
    )
    state = np.zeros(4, np.int64)
    found = _Found(
        np.arange(documents, dtype=np.int32),
        np.ones(documents, np.float32),
        np.zeros(documents, np.int32),
        state,
    )
    index = empty_index(sets, _members(candidates, sizes > hot))
    most = TOUCHED_BYTES // sets.values.itemsize
    while (
        ended := _elect(sets, groups, candidates.settled, verify, hot, index, found, most)
    ) != _DONE:
        if ended == _READ:
            release(sets.values)
        else:
            index = grown(index, sets, memory)
    release(sets.values)
    indexed = int(np.count_nonzero(index.row))
    return Election(
        found.representative,
        found.similarity,
        int(state[_COMPARED]),
        int(state[_VERIFIED]),
        indexed,
    )


def _members(candidates: Candidates, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Ranks of the documents in the groups that are chosen, ascending."""
    if not chosen.any():
        return np.empty(0, np.int64)
    of = np.repeat(np.arange(len(candidates.sets.sizes)), np.diff(candidates.group_starts))
    return np.unique(of[chosen[candidates.groups]])


_INT64, _INT32, _FLOAT32 = types.int64[::1], types.int32[::1], types.float32[::1]
_GROUPS = types.NamedTuple((_INT64, _INT32, _INT64, _INT32, _INT32, _INT32), _Groups)
_FOUND = types.NamedTuple((_INT32, _FLOAT32, _INT32, _INT64), _Found)


@compiled(types.boolean(_GROUPS, types.int64, types.int64))
def _share_group(groups: Any, one: Any, two: Any) -> Any:
    i, j = groups.starts[one], groups.starts[two]
    while i < groups.starts[one + 1] and j < groups.starts[two + 1]:
        if groups.groups[i] == groups.groups[j]:
            return True
        if groups.groups[i] < groups.groups[j]:
            i += 1
        else:
            j += 1
    return False


@compiled(types.boolean(SETS, types.int64, types.int64, types.float64, _FOUND))
def _stands_for(sets: Any, rank: Any, other: Any, verify: Any, found: Any) -> Any:
    """Compare a document with one before it, which stands for it from here on where they are
    similar.
    """
    found.state[_COMPARED] += 1
    found.state[_TOUCHED] += sets.sizes[rank] + sets.sizes[other]
    similarity = jaccard(sets, rank, other, verify)
    if similarity < 0.0:
        return False
    found.state[_VERIFIED] += 1
    found.representative[rank] = other
    found.similarity[rank] = similarity
    return True


@compiled(types.void(SETS, types.int64, _GROUPS, types.int64, types.float64, _FOUND))
def _search_group(sets: Any, rank: Any, groups: Any, group: Any, verify: Any, found: Any) -> None:
    """Compare a document with the elected ones of a group, up to the first that is similar or the
    one known.
    """
    for at in range(groups.list_starts[group], groups.list_starts[group] + groups.counts[group]):
        other = groups.lists[at]
        if other >= found.representative[rank]:
            return
        if found.seen[other] != rank + 1:
            found.seen[other] = rank + 1
            if _stands_for(sets, rank, other, verify, found):
                return


@compiled(types.void(SETS, types.int64, _GROUPS, types.float64, INDEX, _FOUND))
def _search_index(sets: Any, rank: Any, groups: Any, verify: Any, index: Any, found: Any) -> None:
    """Compare a document with those in the index that the bounds do not rule out."""
    size = sets.sizes[rank]
    put_in_order(sets, rank, index)
    fill_bitmap(sets, rank, index.bitmaps[0])
    found.state[_TOUCHED] += size
    smallest = size_class(np.int64(np.ceil(verify * size * ROUNDING)))
    largest_size = np.int64(size / verify) + 1
    for at in range(prefix(size, verify)):
        wanted = np.uint32(index.ordered[at] & np.uint64(0xFFFFFFFF))
        # Sizes y for which size - at in common would do: t / (1 + t) (size + y) <= size - at
        reach = np.int64((size - at) * (1.0 + verify) / verify) - size + 1
        for of_class in range(smallest, size_class(max(min(largest_size, reach), 0)) + 1):
            entry = np.int64(index.heads[slot_of(wanted, of_class, index.heads.shape[0])])
            while entry >= 0:
                other = index.entries[entry, DOCUMENT]
                if (
                    np.uint32(index.entries[entry, SHINGLE]) == wanted
                    and other < found.representative[rank]
                    and found.seen[other] != rank + 1
                ):
                    found.seen[other] = rank + 1  # this is the first shingle the two have in common
                    needed = in_common(size, sets.sizes[other], verify)
                    if (
                        min(size - at, sets.sizes[other] - index.entries[entry, POSITION]) >= needed
                        and _share_group(groups, rank, other)
                        and within(
                            index.bitmaps[0],
                            index.bitmaps[index.row[other]],
                            size + sets.sizes[other] - 2 * needed,
                        )
                    ):
                        _stands_for(sets, rank, other, verify, found)
                entry = np.int64(index.entries[entry, NEXT])


@compiled(
    types.int64(
        SETS, _GROUPS, types.boolean[::1], types.float64, types.int64, INDEX, _FOUND, types.int64,
    )
)  # fmt: skip
def _elect(
    sets: Any,
    groups: Any,
    settled: Any,
    verify: Any,
    hot: Any,
    index: Any,
    found: Any,
    most_touched: Any,
) -> Any:
    """Go on from document `state[_AT]`; returns why it stopped."""
    found.state[_TOUCHED] = 0
    for rank in range(found.state[_AT], sets.sizes.shape[0]):
        found.state[_AT] = rank
        first, last = groups.starts[rank], groups.starts[rank + 1]
        if first == last:
            continue
        if found.state[_TOUCHED] > most_touched:
            return _READ
        if not settled[rank]:
            by_index = False
            for membership in range(first, last):
                group = groups.groups[membership]
                if groups.counts[group] <= hot:
                    continue
                by_index = True
                while groups.indexed[group] < groups.counts[group]:
                    other = groups.lists[groups.list_starts[group] + groups.indexed[group]]
                    if index.row[other] == 0:
                        if not add(sets, other, verify, index):
                            return _GROW
                        found.state[_TOUCHED] += sets.sizes[other]
                    groups.indexed[group] += 1
            for membership in range(first, last):
                group = groups.groups[membership]
                if groups.counts[group] <= hot:
                    _search_group(sets, rank, groups, group, verify, found)
            if by_index:
                _search_index(sets, rank, groups, verify, index, found)
            if found.representative[rank] != rank:
                continue
        for membership in range(first, last):
            group = groups.groups[membership]
            groups.lists[groups.list_starts[group] + groups.counts[group]] = rank
            groups.counts[group] += 1
    found.state[_AT] = sets.sizes.shape[0]
    return _DONE
