"""The compiled loop of the greedy election; `tasks.dedup.elect` has the definition and an example.

`elect_from`, for every document r in order of rank:

1. No group: r is elected, and never compared with anything.
2. Settled: go to 6.
3. Hot groups of r: add their elected documents to the index, as far as they are not in it yet.
4. Other groups of r: compare r with each elected document, ascending, until one is similar.
   A group of near duplicates has one elected document, so it costs one comparison per document.
5. Hot groups: look r up in the index (`tasks.dedup.prefixes`). Comparing every pair of thousands
   of documents that share a template and little else would be quadratic; the index changes the
   amount of work, never the result. If step 4 or 5 found a similar document, r is removed.
6. Otherwise r is elected: append it to the list of each of its groups.

Importing this module compiles the loops.
"""

from __future__ import annotations

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
    add,
    prefix,
    put_in_order,
    size_class,
    slot_of,
)
from tasks.dedup.similarity import ROUNDING, SETS, fill_bitmap, in_common, jaccard, within
from tasks.text.compiled import compiled

Ranks = npt.NDArray[np.int32]

# Why `elect_from` returned: all ranks done, pages of `sets` to hand back, or the index is full.
DONE, RELEASE, GROW = range(3)
# Positions in `Progress.counters`: the rank to go on with, shingles read since pages were last
# handed back, pairs compared, pairs that reached `verify`.
NEXT_RANK, TOUCHED, COMPARED, VERIFIED = range(4)


class Groups(NamedTuple):
    """Memberships of documents, and the elected documents of every group so far.

    Document r belongs to the groups `groups[starts[r]:starts[r + 1]]`. The elected documents of
    group g are `lists[list_starts[g]:list_starts[g] + counts[g]]`, ascending, with room for all
    members; the first `indexed[g]` of them are in the index.
    """

    starts: npt.NDArray[np.int64]  # (documents + 1,)
    groups: npt.NDArray[np.int32]  # (memberships,)
    list_starts: npt.NDArray[np.int64]  # (groups + 1,)
    lists: npt.NDArray[np.int32]  # (memberships,)
    counts: npt.NDArray[np.int32]  # (groups,)
    indexed: npt.NDArray[np.int32]  # (groups,)


class Progress(NamedTuple):
    """The election so far, all arrays by rank but the last.

    `seen[d]` is 1 + the last document that was checked against d, 0 for none: two documents may
    meet in several groups, and are compared once.
    """

    representative: Ranks
    similarity: npt.NDArray[np.float32]
    seen: npt.NDArray[np.int32]
    counters: npt.NDArray[np.int64]  # (4,): see NEXT_RANK and following


_INT64, _INT32, _FLOAT32 = types.int64[::1], types.int32[::1], types.float32[::1]
_GROUPS = types.NamedTuple((_INT64, _INT32, _INT64, _INT32, _INT32, _INT32), Groups)
_PROGRESS = types.NamedTuple((_INT32, _FLOAT32, _INT32, _INT64), Progress)


@compiled(types.boolean(_GROUPS, types.int64, types.int64))
def _share_group(groups: Any, one: Any, two: Any) -> Any:
    """Whether two documents have a group in common: a merge of two ascending lists."""
    i, j = groups.starts[one], groups.starts[two]
    while i < groups.starts[one + 1] and j < groups.starts[two + 1]:
        if groups.groups[i] == groups.groups[j]:
            return True
        if groups.groups[i] < groups.groups[j]:
            i += 1
        else:
            j += 1
    return False


@compiled(types.boolean(SETS, types.int64, types.int64, types.float64, _PROGRESS))
def _represents(sets: Any, rank: Any, other: Any, verify: Any, progress: Any) -> Any:
    """Compare a document with an elected one; where similar, the elected one represents it."""
    progress.counters[COMPARED] += 1
    progress.counters[TOUCHED] += sets.sizes[rank] + sets.sizes[other]
    similarity = jaccard(sets, rank, other, verify)
    if similarity < 0.0:
        return False
    progress.counters[VERIFIED] += 1
    progress.representative[rank] = other
    progress.similarity[rank] = similarity
    return True


@compiled(types.void(SETS, types.int64, _GROUPS, types.int64, types.float64, _PROGRESS))
def _search_group(
    sets: Any, rank: Any, groups: Any, group: Any, verify: Any, progress: Any
) -> None:
    """Compare a document with the elected ones of a group, ascending, up to the first similar one.

    Ranks from the document's present representative on cannot improve the result.
    """
    first = groups.list_starts[group]
    for position in range(first, first + groups.counts[group]):
        other = groups.lists[position]
        if other >= progress.representative[rank]:
            return
        if progress.seen[other] != rank + 1:
            progress.seen[other] = rank + 1
            if _represents(sets, rank, other, verify, progress):
                return


@compiled(types.void(SETS, types.int64, _GROUPS, types.float64, INDEX, _PROGRESS))
def _search_index(
    sets: Any, rank: Any, groups: Any, verify: Any, index: Any, progress: Any
) -> None:
    """Compare a document with those in the index that the bounds do not rule out.

    1. For every shingle of the document's prefix, at `position` in the order of rarity, and for
       every size class that a similar set can have, follow the chain of entries.
    2. Of the entries that hold that shingle, skip documents seen before, and those that could not
       represent this one because a lower rank already does.
    3. The positional bound, a shared group, and the bitmaps, cheapest first.
    4. What is left is compared.
    """
    size = sets.sizes[rank]
    put_in_order(sets, rank, index)
    fill_bitmap(sets, rank, index.bitmaps[0])
    progress.counters[TOUCHED] += size
    # Jaccard similarity is at most min / max of the sizes: similar sets have t|x| to |x|/t of them.
    smallest = size_class(np.int64(np.ceil(verify * size * ROUNDING)))
    largest_size = np.int64(size / verify) + 1
    for position in range(prefix(size, verify)):
        wanted = np.uint32(index.ordered[position] & np.uint64(0xFFFFFFFF))
        # The largest |y| for which |x| - position in common is enough:
        # t / (1 + t) (|x| + |y|) <= |x| - position.
        reach = np.int64((size - position) * (1.0 + verify) / verify) - size + 1
        last_class = size_class(max(min(largest_size, reach), 0))
        for set_class in range(smallest, last_class + 1):
            entry = np.int64(index.heads[slot_of(wanted, set_class, index.heads.shape[0])])
            while entry >= 0:
                other = index.entries[entry, DOCUMENT]
                if (
                    np.uint32(index.entries[entry, SHINGLE]) == wanted
                    and other < progress.representative[rank]
                    and progress.seen[other] != rank + 1
                ):
                    # Positions ascend, so this is the first shingle the two have in common: all
                    # others come after it, in both sets.
                    progress.seen[other] = rank + 1
                    needed = in_common(size, sets.sizes[other], verify)
                    other_position = index.entries[entry, POSITION]
                    if (
                        min(size - position, sets.sizes[other] - other_position) >= needed
                        and _share_group(groups, rank, other)
                        and within(
                            index.bitmaps[0],
                            index.bitmaps[index.row[other]],
                            size + sets.sizes[other] - 2 * needed,
                        )
                    ):
                        _represents(sets, rank, other, verify, progress)
                entry = np.int64(index.entries[entry, NEXT])


@compiled(
    types.int64(
        SETS,
        _GROUPS,
        types.boolean[::1],
        types.float64,
        types.int64,
        INDEX,
        _PROGRESS,
        types.int64,
    )
)
def elect_from(
    sets: Any,
    groups: Any,
    settled: Any,
    verify: Any,
    hot: Any,
    index: Any,
    progress: Any,
    most_touched: Any,
) -> Any:
    """Elect from rank `counters[NEXT_RANK]` on; returns why it stopped.

    Steps 1 to 6 of the module's docstring. Returning and being called again repeats nothing: a
    rank is left either before its first comparison or while the index is filled for it.
    """
    progress.counters[TOUCHED] = 0
    for rank in range(progress.counters[NEXT_RANK], sets.sizes.shape[0]):
        progress.counters[NEXT_RANK] = rank
        first, last = groups.starts[rank], groups.starts[rank + 1]
        if first == last:  # 1.
            continue
        if progress.counters[TOUCHED] > most_touched:
            return RELEASE
        if not settled[rank]:  # 2.
            by_index = False
            for membership in range(first, last):
                group = groups.groups[membership]
                if groups.counts[group] <= hot:
                    continue
                by_index = True
                # 3. Elected documents that joined the group since it was last brought up to date.
                while groups.indexed[group] < groups.counts[group]:
                    other = groups.lists[groups.list_starts[group] + groups.indexed[group]]
                    if index.row[other] == 0:
                        if not add(sets, other, verify, index):
                            return GROW
                        progress.counters[TOUCHED] += sets.sizes[other]
                    groups.indexed[group] += 1
            # 4. Small groups first: a representative found there narrows the search by index.
            for membership in range(first, last):
                group = groups.groups[membership]
                if groups.counts[group] <= hot:
                    _search_group(sets, rank, groups, group, verify, progress)
            if by_index:  # 5.
                _search_index(sets, rank, groups, verify, index, progress)
            if progress.representative[rank] != rank:
                continue
        for membership in range(first, last):  # 6.
            group = groups.groups[membership]
            groups.lists[groups.list_starts[group] + groups.counts[group]] = rank
            groups.counts[group] += 1
    progress.counters[NEXT_RANK] = sets.sizes.shape[0]
    return DONE
