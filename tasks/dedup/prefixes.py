"""The index that a group of many elected documents is searched through: exact prefix filtering.

Bayardo et al., "Scaling up all pairs similarity search", WWW 2007; Xiao et al., "Efficient
similarity joins for near duplicate detection", WWW 2008:

- Shingles are put in one order, the rare ones first. Two sets x and y with a Jaccard similarity of
  t or more have t|x| shingles in common, hence one of the first |x| - ceil(t|x|) + 1 of x, which is
  also in that prefix of y.
- Where their first common shingle is the i-th of x and the j-th of y (from 0), they have at most
  min(|x| - i, |y| - j) in common, and t / (1 + t) (|x| + |y|) are needed. Template text comes last
  in the order, so that pairs which share nothing else end here, and entries are kept apart by size,
  so that most of them are never looked at.
- Pairs that share most of a template, each without some lines of its own choice, pass these bounds.
  Their bitmaps (`tasks.dedup.similarity`) tell most of them apart at a tenth of the price of a
  comparison.

Importing this module compiles the loops.
"""

from __future__ import annotations

import mmap
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from infra.stage import StageError
from tasks.dedup.similarity import ROUNDING, SETS, Sets, bitmap_words, fill_bitmap
from tasks.text.compiled import compiled

TOUCHED_BYTES = 64 << 20
"""Shingles read before the pages of the file they are mapped from are handed back to the kernel."""

_FREQUENCY_SLOTS = 1 << 20
_FIRST_CAPACITY = 1 << 14
_FIRST_BITMAPS = 1 << 8
NEXT, DOCUMENT, SHINGLE, POSITION = range(4)
"""Columns of an entry: the next one of its chain, and what it says. Side by side: a visit costs one
cache miss.
"""
_ENTRY_BYTES = 4 * 4
_MOST_ENTRIES = 2**31 - 1
"""What `Index.heads` can number: 34 GB of entries."""


class IndexTooLarge(StageError):
    """The index of a hot group does not fit the memory given, or cannot be numbered."""


class Index(NamedTuple):
    """Chains of entries by hash of (shingle, size class): the prefixes of the elected documents of
    hot groups.
    """

    heads: npt.NDArray[np.int32]  # (slots,): the chain's first entry, -1 for none
    entries: npt.NDArray[
        np.int32
    ]  # (entries, 4); a shingle as the int32 of its bits, positions as the document has them
    bitmaps: npt.NDArray[np.uint64]  # (rows, words); row 0 is of the document that searches
    row: npt.NDArray[np.int32]  # (documents,): its row of `bitmaps`, 0 where it is not in the index
    frequency: npt.NDArray[
        np.uint16
    ]  # (slots of another kind,): occurrences of shingles, which order them
    ordered: npt.NDArray[
        np.uint64
    ]  # (largest set,): the set in work, in order; the lower 32 bits are the shingle
    used: npt.NDArray[np.int64]  # (2,): entries, rows of `bitmaps`


_INT64, _INT32, _UINT64 = types.int64[::1], types.int32[::1], types.uint64[::1]
_UINT16 = types.uint16[::1]
INDEX = types.NamedTuple(
    (_INT32, types.int32[:, ::1], types.uint64[:, ::1], _INT32, _UINT16, _UINT64, _INT64), Index
)
_ENTRIES, _ROWS = range(2)  # places in `used`


def empty_index(sets: Sets, hot: npt.NDArray[np.int64]) -> Index:
    """An index for sets of which those of ranks `hot` may come into it, or search it."""
    capacity, rows = (_FIRST_CAPACITY, _FIRST_BITMAPS) if len(hot) else (1, 1)
    words = bitmap_words(sets.sizes[hot].mean()) if len(hot) else 1
    return Index(
        np.full(_slots(capacity), -1, np.int32),
        np.empty((capacity, 4), np.int32),
        np.empty((rows, words), np.uint64),
        np.zeros(len(sets.sizes), np.int32),
        _frequencies(sets, hot),
        np.empty(int(sets.sizes.max(initial=1)), np.uint64),
        np.array([0, 1]),
    )


def grown(index: Index, sets: Sets, memory: int) -> Index:
    """The same index with room for the prefix and the bitmap of any document; what is full doubles.

    Raises `IndexTooLarge` where old and new take more than `memory` bytes.
    """
    largest = int(sets.sizes.max())
    entries, rows = (int(used) for used in index.used)
    capacity, room = len(index.entries), len(index.bitmaps)
    needed = _bytes(index)
    if entries + largest > capacity:
        if entries + largest > _MOST_ENTRIES:
            raise IndexTooLarge(
                f"a group of documents that share a template needs more than {_MOST_ENTRIES:,} "
                "entries in its index; raise dedup.rows so that fewer share a band"
            )
        capacity = min(2 * capacity + largest, _MOST_ENTRIES)
        needed += _ENTRY_BYTES * capacity + 4 * _slots(capacity)
    if rows == room:
        room *= 2
        needed += 8 * room * index.bitmaps.shape[1]
    if needed > memory:
        raise IndexTooLarge(
            f"dedup.memory leaves {memory / 1e6:,.0f} MB for a group of documents that share a "
            f"template, which needs {needed / 1e6:,.0f} MB; raise dedup.memory by as much, or "
            "raise dedup.rows so that fewer share a band"
        )
    if room > len(index.bitmaps):
        index = index._replace(bitmaps=_longer(index.bitmaps, room))
    if capacity > len(index.entries):
        heads = np.full(_slots(capacity), -1, np.int32)
        index = index._replace(heads=heads, entries=_longer(index.entries, capacity))
        _link(index, sets)
    return index


def release(values: npt.NDArray[np.uint32]) -> None:
    """Hand the pages of a memory-mapped array back; they are read again where they are needed."""
    mapped = getattr(values, "_mmap", None)
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_DONTNEED)


def _bytes(index: Index) -> int:
    return index.entries.nbytes + index.heads.nbytes + index.bitmaps.nbytes


def _longer(array: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    longer = np.empty((length, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer


def _slots(capacity: int) -> int:
    """Chains for so many entries: a power of two, one or two entries for each."""
    return 1 << (capacity.bit_length() - 1)


def _frequencies(sets: Sets, ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """Occurrences of shingles by slot, over the sets `ranks`; all 0 where there is none.

    Shingles share slots and counts stop at 65,535: any order of shingles is right, this one is
    quick.
    """
    if not len(ranks):
        return np.zeros(1, np.uint16)
    frequency = np.zeros(_FREQUENCY_SLOTS, np.uint16)
    ends = np.cumsum(sets.sizes[ranks])
    step = TOUCHED_BYTES // sets.values.itemsize
    first = 0
    while first < len(ranks):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + step)))
        _count(sets, ranks[first:last], frequency)
        release(sets.values)
        first = last
    return frequency


@compiled(types.void(SETS, _INT64, _UINT16))
def _count(sets: Any, ranks: Any, frequency: Any) -> None:
    mask = np.uint32(frequency.shape[0] - 1)
    for rank in ranks:
        for at in range(sets.starts[rank], sets.starts[rank] + sets.sizes[rank]):
            slot = sets.values[at] & mask
            if frequency[slot] < 0xFFFF:
                frequency[slot] += 1


@compiled(types.int64(types.int64))
def size_class(size: Any) -> Any:
    """Eight classes for every doubling of the size; a larger size never has a smaller class."""
    shift = 0
    while size >> shift >= 16:
        shift += 1
    return 8 * shift + (size >> shift)


@compiled(types.int64(types.uint32, types.int64, types.int64))
def slot_of(shingle: Any, of_class: Any, slots: Any) -> Any:
    """The place in `heads` of the entries for a shingle in sets of a size class."""
    word = (np.uint64(shingle) ^ (np.uint64(of_class) << np.uint64(40))) * np.uint64(
        0x9E3779B97F4A7C15
    )
    return np.int64((word ^ (word >> np.uint64(29))) & np.uint64(slots - 1))


@compiled(types.int64(types.int64, types.float64))
def prefix(size: Any, verify: Any) -> Any:
    """Shingles of a set of which any similar set has at least one."""
    return min(size, size - np.int64(np.ceil(verify * size * ROUNDING)) + 1)


@compiled(types.void(SETS, types.int64, INDEX))
def put_in_order(sets: Any, rank: Any, index: Any) -> None:
    """Fill `index.ordered` with a set's shingles, the rare ones first."""
    size = sets.sizes[rank]
    mask = np.uint32(index.frequency.shape[0] - 1)
    for at in range(size):
        shingle = sets.values[sets.starts[rank] + at]
        index.ordered[at] = np.uint64(index.frequency[shingle & mask]) << np.uint64(32) | np.uint64(
            shingle
        )
    index.ordered[:size].sort()


@compiled(types.boolean(SETS, types.int64, types.float64, INDEX))
def add(sets: Any, rank: Any, verify: Any, index: Any) -> Any:
    """Put the prefix and the bitmap of a document into the index; False where there is no room: let
    it be `grown`.
    """
    wanted = prefix(sets.sizes[rank], verify)
    used, row = index.used[_ENTRIES], index.used[_ROWS]
    if used + wanted > index.entries.shape[0] or row == index.bitmaps.shape[0]:
        return False
    put_in_order(sets, rank, index)
    of_class = size_class(sets.sizes[rank])
    for at in range(wanted):
        entry = used + at
        shingle = np.uint32(index.ordered[at] & np.uint64(0xFFFFFFFF))
        slot = slot_of(shingle, of_class, index.heads.shape[0])
        index.entries[entry, NEXT] = index.heads[slot]
        index.entries[entry, DOCUMENT] = rank
        index.entries[entry, SHINGLE] = np.int32(shingle)
        index.entries[entry, POSITION] = at
        index.heads[slot] = entry
    fill_bitmap(sets, rank, index.bitmaps[row])
    index.row[rank] = row
    index.used[_ENTRIES] += wanted
    index.used[_ROWS] += 1
    return True


@compiled(types.void(INDEX, SETS))
def _link(index: Any, sets: Any) -> None:
    for entry in range(index.used[_ENTRIES]):
        of_class = size_class(sets.sizes[index.entries[entry, DOCUMENT]])
        slot = slot_of(np.uint32(index.entries[entry, SHINGLE]), of_class, index.heads.shape[0])
        index.entries[entry, NEXT] = index.heads[slot]
        index.heads[slot] = entry
