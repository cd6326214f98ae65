"""Greedy election: which documents stay.

Documents come in order of preference; a document's index here is its rank, 0 the most preferred. Definition:

    A document goes if and only if an already elected one either has the same text hash, or shares a band key with it
    and has a Jaccard similarity of at least `verify` with it. The first such one in rank stands for it.

There is no transitive closure: A~B~C does not remove C unless C is itself similar to A. Settled documents (those of
earlier crawls) are elected whatever they are similar to.

Copies of a text share hash, band keys and similarities, so that the caller leaves all but the first of each out.
A group is the documents that share one band's key. Documents are compared with the elected ones of their groups only,
so that a group of near duplicates costs one comparison a document. A group of many elected documents (thousands that
share a template and little else) would cost a comparison for each pair; beyond `HOT` of them it is searched through an
index instead, by exact prefix filtering (Bayardo et al., "Scaling up all pairs similarity search", WWW 2007; Xiao et
al., "Efficient similarity joins for near duplicate detection", WWW 2008):

- Shingles are put in one order, the rare ones first. Two sets x and y with a Jaccard similarity of t or more have
  t|x| shingles in common, hence one of the first |x| - ceil(t|x|) + 1 of x, which is also in that prefix of y.
- Where their first common shingle is the i-th of x and the j-th of y (from 0), they have at most min(|x| - i, |y| - j)
  in common, and t / (1 + t) (|x| + |y|) are needed. Template text comes last in the order, so that pairs which share
  nothing else end here, and entries are kept apart by size, so that most of them are never looked at.

Both are bounds, never estimates: the index changes the work, not the result. Importing this module compiles the loops.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from infra.stage import StageError
from tasks.text.compiled import compiled

HOT = 64
"""Elected documents up to which a group is searched one by one."""
TOUCHED_BYTES = 64 << 20
"""Shingles read before the pages of the file they are mapped from are handed back to the kernel."""

Ranks = npt.NDArray[np.int32]

_FREQUENCY_SLOTS = 1 << 20
_FIRST_CAPACITY = 1 << 14
_ENTRY_BYTES = 4 + 4 + 4 + 2  # next, document, shingle, position
_ROUNDING = 1.0 - 1e-9  # makes bounds looser by more than the error of their arithmetic
_DONE, _READ, _GROW = range(3)
_AT, _USED, _COMPARED, _VERIFIED = range(4)  # places in `state`


@dataclass(frozen=True)
class Candidates:
    """Documents in order of rank, with n documents and m memberships.

    `values[starts[r]:starts[r] + sizes[r]]` is document r's shingle set, ascending; `values` may be memory-mapped.
    `groups[group_starts[r]:group_starts[r + 1]]` are the numbers, ascending, of the groups it belongs to.
    """

    values: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]  # (n,)
    sizes: npt.NDArray[np.int64]  # (n,)
    group_starts: npt.NDArray[np.int64]  # (n + 1,)
    groups: npt.NDArray[np.int32]  # (m,)
    settled: npt.NDArray[np.bool_]  # (n,): elected already


@dataclass(frozen=True)
class Election:
    """`representative[r]` is the rank of the document that stands for r, r itself where r is elected.

    `similarity[r]` is the Jaccard similarity to it, 1 for r itself. Counts: pairs whose shingles were compared, pairs
    that reached `verify`, documents that were put into the index.
    """

    representative: Ranks
    similarity: npt.NDArray[np.float32]
    compared: int
    verified: int
    indexed: int


class IndexTooLarge(StageError):
    """The index of a hot group does not fit the memory given."""


def elect(candidates: Candidates, verify: float, memory: int = 1 << 62, hot: int = HOT) -> Election:
    """Elect among documents (see the module's docstring); `memory` bounds the index of hot groups, in bytes.

    Raises `IndexTooLarge`.
    """
    documents = len(candidates.sizes)
    group_sizes = np.bincount(candidates.groups, minlength=1)
    list_starts = np.concatenate(([0], np.cumsum(group_sizes))).astype(np.int64)
    frequency = _frequencies(candidates, group_sizes > hot)
    state = np.zeros(4, np.int64)
    representative = np.arange(documents, dtype=np.int32)
    similarity = np.ones(documents, np.float32)
    is_indexed = np.zeros(documents, np.bool_)
    work = (
        np.empty(len(candidates.groups), np.int32),
        np.zeros(len(group_sizes), np.int32),
        np.zeros(len(group_sizes), np.int32),
        is_indexed,
        np.zeros(documents, np.int32),
        frequency,
        np.empty(int(candidates.sizes.max(initial=1)), np.uint64),
    )
    index = _Index.of(_FIRST_CAPACITY if frequency.any() else 1)
    sets = (candidates.values, candidates.starts, candidates.sizes)
    while True:
        ended = _elect(
            *sets, candidates.group_starts, candidates.groups, candidates.settled, verify, hot, list_starts, *work,
            index.heads, index.chain, index.document, index.shingle, index.position,
            state, representative, similarity, TOUCHED_BYTES // candidates.values.itemsize,
        )  # fmt: skip
        if ended == _DONE:
            break
        if ended == _READ:
            _release(candidates.values)
        else:
            index = index.grown(int(state[_USED]), candidates.sizes, memory)
    _release(candidates.values)
    indexed = int(is_indexed.sum())
    return Election(representative, similarity, int(state[_COMPARED]), int(state[_VERIFIED]), indexed)


@dataclass(frozen=True)
class _Index:
    """Chains of entries by hash of (shingle, size class): the prefixes of the elected documents of hot groups."""

    heads: npt.NDArray[np.int32]  # (slots,): the chain's first entry, -1 for none
    chain: npt.NDArray[np.int32]  # (entries,): the next one
    document: npt.NDArray[np.int32]
    shingle: npt.NDArray[np.uint32]
    position: npt.NDArray[np.uint16]  # in the document's order, at most 65,535

    @classmethod
    def of(cls, capacity: int) -> _Index:
        return cls(
            np.full(_slots(capacity), -1, np.int32),
            np.empty(capacity, np.int32),
            np.empty(capacity, np.int32),
            np.empty(capacity, np.uint32),
            np.empty(capacity, np.uint16),
        )

    def grown(self, used: int, sizes: npt.NDArray[np.int64], memory: int) -> _Index:
        """The same entries with room for as many again, and for the prefix of any document."""
        capacity = 2 * len(self.chain) + int(sizes.max())
        needed = _ENTRY_BYTES * (capacity + len(self.chain)) + 4 * _slots(capacity)
        if needed > memory:
            raise IndexTooLarge(
                f"dedup.memory leaves {memory / 1e6:,.0f} MB for a group of documents that share a template, which "
                f"needs {needed / 1e6:,.0f} MB; raise dedup.memory by as much, or raise dedup.rows so that fewer share "
                "a band"
            )
        index = _Index.of(capacity)
        for name in ("document", "shingle", "position"):
            getattr(index, name)[:used] = getattr(self, name)[:used]
        _link(index.heads, index.chain, index.document, index.shingle, used, sizes)
        return index


def _slots(capacity: int) -> int:
    """Chains for so many entries: the next power of two."""
    return 1 << max(0, capacity - 1).bit_length()


def _frequencies(candidates: Candidates, hot: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint16]:
    """Occurrences of shingles by slot, over documents of groups that may become hot; all 0 where there is none.

    Shingles share slots and counts stop at 65,535: any order of shingles is right, this one is quick.
    """
    if not hot.any():
        return np.zeros(1, np.uint16)
    frequency = np.zeros(_FREQUENCY_SLOTS, np.uint16)
    of = np.repeat(np.arange(len(candidates.sizes)), np.diff(candidates.group_starts))
    ranks = np.unique(of[hot[candidates.groups]])
    ends = np.cumsum(candidates.sizes[ranks])
    step = TOUCHED_BYTES // candidates.values.itemsize
    first = 0
    while first < len(ranks):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + step)))
        _count(candidates.values, candidates.starts, candidates.sizes, ranks[first:last], frequency)
        _release(candidates.values)
        first = last
    return frequency


def _release(values: npt.NDArray[np.uint32]) -> None:
    """Hand the pages of a memory-mapped array back; they are read again where they are needed."""
    mapped = getattr(values, "_mmap", None)
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_DONTNEED)


_SETS = types.Array(types.uint32, 1, "C", readonly=True)
_INT64, _INT32, _FLAGS = types.int64[::1], types.int32[::1], types.boolean[::1]
_UINT64, _UINT32, _UINT16 = types.uint64[::1], types.uint32[::1], types.uint16[::1]


@compiled(types.int64(types.int64))
def _size_class(size: Any) -> Any:
    """Eight classes for every doubling of the size; a larger size never has a smaller class."""
    shift = 0
    while size >> shift >= 16:
        shift += 1
    return 8 * shift + (size >> shift)


@compiled(types.int64(types.uint64, types.int64, types.int64))
def _slot(shingle: Any, size_class: Any, slots: Any) -> Any:
    word = (shingle ^ (np.uint64(size_class) << np.uint64(40))) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((word ^ (word >> np.uint64(29))) & np.uint64(slots - 1))


@compiled(types.int64(types.int64, types.float64))
def _prefix(size: Any, verify: Any) -> Any:
    """Shingles of a set of which any similar set has at least one."""
    return min(size, size - np.int64(np.ceil(verify * size * _ROUNDING)) + 1)


@compiled(types.int64(types.int64, types.int64, types.float64))
def _needed(one: Any, two: Any, verify: Any) -> Any:
    """Shingles that similar sets of these sizes have in common."""
    return np.int64(np.ceil(verify / (1.0 + verify) * (one + two) * _ROUNDING))


@compiled(types.float64(_SETS, types.int64, types.int64, types.int64, types.int64, types.float64))
def _jaccard(values: Any, start: Any, size: Any, other_start: Any, other_size: Any, verify: Any) -> Any:
    """The Jaccard similarity of two sets, or -1 where it is below `verify`."""
    # |A and B| / |A or B| <= min / max, in rounded arithmetic too: division rounds monotonically.
    if min(size, other_size) / max(size, other_size) < verify:
        return -1.0
    needed = _needed(size, other_size, verify)
    spare, other_spare = size - needed, other_size - needed  # shingles that either side may have for itself
    i = j = 0
    while i < size and j < other_size:
        one = values[start + i]
        two = values[other_start + j]
        i += one <= two
        j += two <= one
        spare -= one < two
        other_spare -= two < one
        if spare < 0 or other_spare < 0:
            return -1.0
    common = i - (size - needed - spare)
    jaccard = common / (size + other_size - common)
    return jaccard if jaccard >= verify else -1.0


@compiled(types.void(_SETS, _INT64, _INT64, _INT64, _UINT16))
def _count(values: Any, starts: Any, sizes: Any, ranks: Any, frequency: Any) -> None:
    mask = np.uint32(frequency.shape[0] - 1)
    for rank in ranks:
        for at in range(starts[rank], starts[rank] + sizes[rank]):
            slot = values[at] & mask
            if frequency[slot] < 0xFFFF:
                frequency[slot] += 1


@compiled(types.void(_SETS, types.int64, types.int64, _UINT16, _UINT64))
def _in_order(values: Any, start: Any, size: Any, frequency: Any, ordered: Any) -> None:
    """Fill `ordered[:size]` with a set's shingles in the order of the index; the lower 32 bits are the shingle."""
    mask = np.uint32(frequency.shape[0] - 1)
    for at in range(size):
        shingle = values[start + at]
        ordered[at] = np.uint64(frequency[shingle & mask]) << np.uint64(32) | np.uint64(shingle)
    ordered[:size].sort()


@compiled(types.void(_INT32, _INT32, _INT32, _UINT32, types.int64, _INT64))
def _link(heads: Any, chain: Any, document: Any, shingle: Any, used: Any, sizes: Any) -> None:
    for entry in range(used):
        slot = _slot(np.uint64(shingle[entry]), _size_class(sizes[document[entry]]), heads.shape[0])
        chain[entry] = heads[slot]
        heads[slot] = entry


@compiled(types.boolean(_INT64, _INT32, types.int64, types.int64))
def _share_group(group_starts: Any, groups: Any, one: Any, two: Any) -> Any:
    i, j = group_starts[one], group_starts[two]
    while i < group_starts[one + 1] and j < group_starts[two + 1]:
        if groups[i] == groups[j]:
            return True
        if groups[i] < groups[j]:
            i += 1
        else:
            j += 1
    return False


@compiled(
    types.int64(
        _SETS, _INT64, _INT64, _INT64, _INT32, _FLAGS, types.float64, types.int64, _INT64,
        _INT32, _INT32, _INT32, _FLAGS, _INT32, _UINT16, _UINT64,
        _INT32, _INT32, _INT32, _UINT32, _UINT16,
        _INT64, _INT32, types.float32[::1], types.int64,
    )
)  # fmt: skip
def _elect(
    values: Any, starts: Any, sizes: Any, group_starts: Any, groups: Any, settled: Any, verify: Any, most: Any,
    list_starts: Any, lists: Any, counts: Any, indexed: Any, is_indexed: Any, seen: Any, frequency: Any, ordered: Any,
    heads: Any, chain: Any, document: Any, shingle: Any, position: Any,
    state: Any, representative: Any, similarity: Any, touch_limit: Any,
) -> Any:  # fmt: skip
    """Go on from document `state[_AT]`; returns why it stopped. A group's elected documents are in `lists`, ascending.

    `indexed[g]` of group g's `counts[g]` elected ones are in the index; `seen[d]` is the last one compared with d, + 1.
    """
    touched = 0
    for rank in range(state[_AT], sizes.shape[0]):
        state[_AT] = rank
        if group_starts[rank] == group_starts[rank + 1]:
            continue
        if touched > touch_limit:
            return _READ
        size = sizes[rank]
        best = np.int64(rank)
        jaccard = -1.0
        if not settled[rank]:
            hot = False
            for membership in range(group_starts[rank], group_starts[rank + 1]):
                group = groups[membership]
                if counts[group] <= most:
                    continue
                hot = True
                while indexed[group] < counts[group]:
                    other = lists[list_starts[group] + indexed[group]]
                    if not is_indexed[other]:
                        prefix = _prefix(sizes[other], verify)
                        if state[_USED] + prefix > chain.shape[0]:
                            return _GROW
                        _in_order(values, starts[other], sizes[other], frequency, ordered)
                        touched += sizes[other]
                        size_class = _size_class(sizes[other])
                        for at in range(prefix):
                            entry = state[_USED] + at
                            slot = _slot(ordered[at] & np.uint64(0xFFFFFFFF), size_class, heads.shape[0])
                            document[entry] = other
                            shingle[entry] = np.uint32(ordered[at] & np.uint64(0xFFFFFFFF))
                            position[entry] = min(at, 0xFFFF)
                            chain[entry] = heads[slot]
                            heads[slot] = entry
                        state[_USED] += prefix
                        is_indexed[other] = True
                    indexed[group] += 1
            for membership in range(group_starts[rank], group_starts[rank + 1]):
                group = groups[membership]
                if counts[group] > most:
                    continue
                for at in range(list_starts[group], list_starts[group] + counts[group]):
                    other = lists[at]
                    if other >= best:
                        break
                    if seen[other] == rank + 1:
                        continue
                    seen[other] = rank + 1
                    state[_COMPARED] += 1
                    touched += size + sizes[other]
                    found = _jaccard(values, starts[rank], size, starts[other], sizes[other], verify)
                    if found >= 0.0:
                        state[_VERIFIED] += 1
                        best, jaccard = np.int64(other), found
                        break
            if hot:
                _in_order(values, starts[rank], size, frequency, ordered)
                touched += size
                smallest = _size_class(np.int64(np.ceil(verify * size * _ROUNDING)))
                largest_size = np.int64(size / verify) + 1
                for at in range(_prefix(size, verify)):
                    wanted = np.uint32(ordered[at] & np.uint64(0xFFFFFFFF))
                    # Sizes y for which size - at in common would do: t / (1 + t) (size + y) <= size - at
                    reach = np.int64((size - at) * (1.0 + verify) / verify) - size + 1
                    for size_class in range(smallest, _size_class(max(min(largest_size, reach), 0)) + 1):
                        entry = np.int64(heads[_slot(np.uint64(wanted), size_class, heads.shape[0])])
                        while entry >= 0:
                            other = document[entry]
                            if shingle[entry] == wanted and other < best and seen[other] != rank + 1:
                                seen[other] = rank + 1  # this is the first shingle the two have in common
                                bound = min(size - at, sizes[other] - position[entry])
                                if bound >= _needed(size, sizes[other], verify) and _share_group(
                                    group_starts, groups, rank, other
                                ):
                                    state[_COMPARED] += 1
                                    touched += size + sizes[other]
                                    found = _jaccard(values, starts[rank], size, starts[other], sizes[other], verify)
                                    if found >= 0.0:
                                        state[_VERIFIED] += 1
                                        best, jaccard = np.int64(other), found
                            entry = np.int64(chain[entry])
            if best < rank:
                representative[rank] = best
                similarity[rank] = jaccard
                continue
        for membership in range(group_starts[rank], group_starts[rank + 1]):
            group = groups[membership]
            lists[list_starts[group] + counts[group]] = rank
            counts[group] += 1
    state[_AT] = sizes.shape[0]
    return _DONE
