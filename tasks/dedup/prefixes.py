"""The index through which a group of many elected documents is searched: exact prefix filtering.

Symbols: x is the set of shingles of the document that searches, y one of an indexed document, t the
threshold `verify`, i and j positions (from 0) in the two sets once they are in order. J(x, y) >= t
means that x and y have at least t / (1 + t) (|x| + |y|) shingles in common. The filters, in order:

1. Order: the shingles of every set are sorted by frequency in the hot groups, the rare ones first.
2. Prefix filter: where J(x, y) >= t, x and y have at least t|x| shingles in common, so that one of
   the first |x| - ceil(t|x|) + 1 shingles of x is among the first |y| - ceil(t|y|) + 1 of y. Only
   these prefixes are indexed and looked up.
3. Size filter: similar sets have t|x| <= |y| <= |x| / t. Entries are stored by size class, so that
   most others are never visited.
4. Positional filter: if the first common shingle is at position i of x and j of y, they have at
   most min(|x| - i, |y| - j) in common. Template text is frequent and comes last in the order, so
   that pairs which share nothing else fail here.
5. Bitmap filter (`tasks.dedup.similarity`): pairs that share most of a template, each without some
   lines of it, pass the filters so far. Bitmaps rule out most of these at a tenth of the cost of
   a comparison.

Example: t = 0.6; b, c, d, e are in many sets, the others in one each. A set of five has the prefix
5 - 3 + 1 = 3, and two of them need ceil(0.375 * 10) = 4 shingles in common.

    x  a b c | d e
    y  f b c | d e    first common shingle b, i = j = 1: up to 4 in common, so compare (4/6 = 0.67)
    z  f g c | d e    first common shingle c, i = j = 2: up to 3 in common, too few: never compared
    w  f g h | d e    no common shingle in the prefixes: never visited

Filters 1 and 2: Bayardo et al., "Scaling up all pairs similarity search", WWW 2007. Filter 4: Xiao
et al., "Efficient similarity joins for near duplicate detection", WWW 2008. No filter loses a
similar pair; `tasks.dedup.elect` compares what is left.

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
"""Bytes of shingles read before the mapped file's pages are handed back to the kernel."""

_FREQUENCY_SLOTS = 1 << 20
_FIRST_CAPACITY = 1 << 14
_FIRST_BITMAPS = 1 << 8
NEXT, DOCUMENT, SHINGLE, POSITION = range(4)
"""Columns of an entry: the next entry of its chain (-1: none), the document, a shingle of its
prefix, and the shingle's position. They are adjacent, so that a visit costs one cache miss.
"""
_ENTRY_BYTES = 4 * 4
_MOST_ENTRIES = 2**31 - 1
"""Entries that the int32 of `Index.heads` can number: 34 GB of them."""


class IndexTooLarge(StageError):
    """The index of hot groups exceeds the memory it may take, or the entries it can number."""


class Index(NamedTuple):
    """The prefixes of the elected documents of hot groups, in a hash table with chains.

    heads      (slots,): first entry of the chain for a hash of (shingle, size class), -1 for none
    entries    (capacity, 4): see `NEXT` and following; a shingle as the int32 of its bits
    bitmaps    (rows, words): row 0 belongs to the document that searches
    row        (documents,): a document's row of `bitmaps`, 0 where it is not in the index
    frequency  (frequency slots,): occurrences of shingles, by which they are ordered
    ordered    (largest set,): scratch, the present set in order: frequency, shingle (32 bits each)
    used       (2,): entries and rows of `bitmaps` in use
    """

    heads: npt.NDArray[np.int32]
    entries: npt.NDArray[np.int32]
    bitmaps: npt.NDArray[np.uint64]
    row: npt.NDArray[np.int32]
    frequency: npt.NDArray[np.uint16]
    ordered: npt.NDArray[np.uint64]
    used: npt.NDArray[np.int64]


_INT64, _INT32, _UINT64 = types.int64[::1], types.int32[::1], types.uint64[::1]
_UINT16 = types.uint16[::1]
INDEX = types.NamedTuple(
    (_INT32, types.int32[:, ::1], types.uint64[:, ::1], _INT32, _UINT16, _UINT64, _INT64), Index
)
_ENTRIES, _ROWS = range(2)  # positions in `used`


def empty_index(sets: Sets, hot: npt.NDArray[np.int64]) -> Index:
    """An empty index for `sets`; only documents of ranks `hot` may be added or search it."""
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
    """The index with room for the prefix and the bitmap of any document; full arrays double.

    Raises `IndexTooLarge` where the old and the new arrays take more than `memory` bytes together.
    """
    largest = int(sets.sizes.max())
    entries, rows = (int(used) for used in index.used)
    capacity, room = len(index.entries), len(index.bitmaps)
    needed = _bytes(index)
    if entries + largest > capacity:
        if entries + largest > _MOST_ENTRIES:
            raise IndexTooLarge(
                f"groups of documents that share a template need more than {_MOST_ENTRIES:,} "
                "index entries, the most there can be; raise dedup.rows so that fewer share a band"
            )
        capacity = min(2 * capacity + largest, _MOST_ENTRIES)
        needed += _ENTRY_BYTES * capacity + 4 * _slots(capacity)
    if rows == room:
        room *= 2
        needed += 8 * room * index.bitmaps.shape[1]
    if needed > memory:
        raise IndexTooLarge(
            f"dedup.memory leaves {memory / 1e6:,.0f} MB to index documents that share a template, "
            f"which takes {needed / 1e6:,.0f} MB; raise dedup.memory by at least the difference, "
            "or raise dedup.rows so that fewer documents share a band"
        )
    if room > len(index.bitmaps):
        index = index._replace(bitmaps=_longer(index.bitmaps, room))
    if capacity > len(index.entries):
        heads = np.full(_slots(capacity), -1, np.int32)
        index = index._replace(heads=heads, entries=_longer(index.entries, capacity))
        _link(index, sets)  # more slots: every entry has a new chain
    return index


def release(values: npt.NDArray[np.uint32]) -> None:
    """Hand the pages of a memory-mapped array back to the kernel; they are reread when needed."""
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
    """Chains for `capacity` entries: a power of two, with one or two entries a chain when full."""
    return 1 << (capacity.bit_length() - 1)


def _frequencies(sets: Sets, ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """Occurrences of shingles by slot, over the sets `ranks`.

    Shingles share slots and counts stop at 65,535. Both are harmless: any order gives the right
    result as long as all sets use the same one; a better order is only faster.
    """
    if not len(ranks):
        return np.zeros(1, np.uint16)
    frequency = np.zeros(_FREQUENCY_SLOTS, np.uint16)
    ends = np.cumsum(sets.sizes[ranks])
    step = TOUCHED_BYTES // sets.values.itemsize
    first = 0
    # In slices of documents, so that no more than `TOUCHED_BYTES` of the file stay mapped in.
    while first < len(ranks):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + step)))
        _count(sets, ranks[first:last], frequency)
        release(sets.values)
        first = last
    return frequency


@compiled(types.void(SETS, _INT64, _UINT16))
def _count(sets: Any, ranks: Any, frequency: Any) -> None:
    """Add the shingles of some sets to `frequency`, whose length is a power of two."""
    mask = np.uint32(frequency.shape[0] - 1)
    for rank in ranks:
        for index in range(sets.starts[rank], sets.starts[rank] + sets.sizes[rank]):
            slot = sets.values[index] & mask
            if frequency[slot] < 0xFFFF:
                frequency[slot] += 1


@compiled(types.int64(types.int64))
def size_class(size: Any) -> Any:
    """Eight classes for each doubling of the size; monotonic in the size."""
    shift = 0
    while size >> shift >= 16:
        shift += 1
    return 8 * shift + (size >> shift)


@compiled(types.int64(types.uint32, types.int64, types.int64))
def slot_of(shingle: Any, set_class: Any, slots: Any) -> Any:
    """Index in `heads` of the chain for a shingle in sets of a size class (Fibonacci hashing)."""
    word = (np.uint64(shingle) ^ (np.uint64(set_class) << np.uint64(40))) * np.uint64(
        0x9E3779B97F4A7C15
    )
    return np.int64((word ^ (word >> np.uint64(29))) & np.uint64(slots - 1))


@compiled(types.int64(types.int64, types.float64))
def prefix(size: Any, verify: Any) -> Any:
    """Length of a set's prefix, of whose shingles any similar set has at least one."""
    return min(size, size - np.int64(np.ceil(verify * size * ROUNDING)) + 1)


@compiled(types.void(SETS, types.int64, INDEX))
def put_in_order(sets: Any, rank: Any, index: Any) -> None:
    """Fill `index.ordered` with a set's shingles, the rare ones first."""
    size = sets.sizes[rank]
    mask = np.uint32(index.frequency.shape[0] - 1)
    for position in range(size):
        shingle = sets.values[sets.starts[rank] + position]
        # Frequency in the upper half, shingle in the lower one: sorting the words sorts by
        # frequency, and ties are broken alike in all sets.
        frequency = np.uint64(index.frequency[shingle & mask])
        index.ordered[position] = frequency << np.uint64(32) | np.uint64(shingle)
    index.ordered[:size].sort()


@compiled(types.boolean(SETS, types.int64, types.float64, INDEX))
def add(sets: Any, rank: Any, verify: Any, index: Any) -> Any:
    """Add the prefix and the bitmap of a document; False, and nothing added, where it is full.

    The caller then replaces the index by a `grown` one.
    """
    length = prefix(sets.sizes[rank], verify)
    used, row = index.used[_ENTRIES], index.used[_ROWS]
    if used + length > index.entries.shape[0] or row == index.bitmaps.shape[0]:
        return False
    put_in_order(sets, rank, index)
    set_class = size_class(sets.sizes[rank])
    for position in range(length):
        entry = used + position
        shingle = np.uint32(index.ordered[position] & np.uint64(0xFFFFFFFF))
        slot = slot_of(shingle, set_class, index.heads.shape[0])
        index.entries[entry, NEXT] = index.heads[slot]
        index.entries[entry, DOCUMENT] = rank
        index.entries[entry, SHINGLE] = np.int32(shingle)
        index.entries[entry, POSITION] = position
        index.heads[slot] = entry
    fill_bitmap(sets, rank, index.bitmaps[row])
    index.row[rank] = row
    index.used[_ENTRIES] += length
    index.used[_ROWS] += 1
    return True


@compiled(types.void(INDEX, SETS))
def _link(index: Any, sets: Any) -> None:
    """Chain all entries anew from empty `heads`."""
    for entry in range(index.used[_ENTRIES]):
        set_class = size_class(sets.sizes[index.entries[entry, DOCUMENT]])
        slot = slot_of(np.uint32(index.entries[entry, SHINGLE]), set_class, index.heads.shape[0])
        index.entries[entry, NEXT] = index.heads[slot]
        index.heads[slot] = entry
