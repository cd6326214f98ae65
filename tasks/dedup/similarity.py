"""Two sets of shingles: their Jaccard similarity, and bounds on it that are known sooner.

Bounds, never estimates: they end a comparison early and change no result. Importing this module
compiles the loops.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from tasks.text.compiled import compiled

ROUNDING = 1.0 - 1e-9
"""Makes bounds looser by more than the error of their arithmetic."""

_WORDS_AT_ONCE = 8


class Sets(NamedTuple):
    """`values[starts[r]:starts[r] + sizes[r]]` is set r, ascending; `values` may be
    memory-mapped.
    """

    values: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


SETS = types.NamedTuple(
    (types.Array(types.uint32, 1, "C", readonly=True), types.int64[::1], types.int64[::1]), Sets
)
BITMAP = types.uint64[::1]


@compiled(types.int64(types.int64, types.int64, types.float64))
def in_common(one: Any, two: Any, verify: Any) -> Any:
    """Shingles that similar sets of these sizes have in common, at least."""
    return np.int64(np.ceil(verify / (1.0 + verify) * (one + two) * ROUNDING))


@compiled(types.float64(SETS, types.int64, types.int64, types.float64))
def jaccard(sets: Any, one: Any, two: Any, verify: Any) -> Any:
    """The Jaccard similarity of sets `one` and `two`, or -1 where it is below `verify`."""
    start, size = sets.starts[one], sets.sizes[one]
    other_start, other_size = sets.starts[two], sets.sizes[two]
    # |A and B| / |A or B| <= min / max, in rounded arithmetic too: division rounds monotonically.
    if min(size, other_size) / max(size, other_size) < verify:
        return -1.0
    needed = in_common(size, other_size, verify)
    spare, other_spare = (
        size - needed,
        other_size - needed,
    )  # shingles that either side may have for itself
    i = j = 0
    while i < size and j < other_size:
        mine = sets.values[start + i]
        theirs = sets.values[other_start + j]
        i += mine <= theirs
        j += theirs <= mine
        spare -= mine < theirs
        other_spare -= theirs < mine
        if spare < 0 or other_spare < 0:
            return -1.0
    common = i - (size - needed - spare)
    found = common / (size + other_size - common)
    return found if found >= verify else -1.0


def bitmap_words(size: float) -> int:
    """64-bit words for bitmaps of sets of about this size: 8 to 16 bits a shingle, 8 kB at most."""
    return 1 << min((int(size) // 8).bit_length(), 10)


@compiled(types.void(SETS, types.int64, BITMAP))
def fill_bitmap(sets: Any, rank: Any, bitmap: Any) -> None:
    """Bit b of `bitmap` (a power of two words) is the parity of the set's shingles that fall on
    b.
    """
    bitmap[:] = 0
    mask = np.uint32(64 * bitmap.shape[0] - 1)
    for at in range(sets.starts[rank], sets.starts[rank] + sets.sizes[rank]):
        bit = sets.values[at] & mask
        bitmap[bit >> np.uint32(6)] ^= np.uint64(1) << np.uint64(bit & np.uint32(63))


@compiled(types.int64(types.uint64))
def _ones(word: Any) -> Any:
    """Bits that are set: the sum in pairs, fours and bytes, which LLVM takes for the instruction
    where there is one.
    """
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + (
        (word >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled(types.boolean(BITMAP, BITMAP, types.int64))
def within(one: Any, two: Any, most: Any) -> Any:
    """Whether two bitmaps differ in `most` bits and no more.

    A shingle that both sets have changes both bitmaps alike, one that a single set has flips one
    bit: they differ in no more bits than the sets have shingles apart (Sandes et al., "Bitmap
    filter: speeding up exact set similarity joins with bitwise operations", Information Systems 88,
    2020).
    """
    differing = np.int64(0)
    for first in range(0, one.shape[0], _WORDS_AT_ONCE):
        for at in range(first, min(first + _WORDS_AT_ONCE, one.shape[0])):
            differing += _ones(one[at] ^ two[at])
        if differing > most:
            return False
    return True
