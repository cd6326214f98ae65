"""The Jaccard similarity of two sets of shingles, and bounds on it that are cheaper to compute.

For sets x and y, J = |x and y| / |x or y|; with c shingles in common, J = c / (|x| + |y| - c). So
J >= t if and only if c >= t / (1 + t) (|x| + |y|). These are bounds, never estimates: they end a
comparison early and change no result.

Importing this module compiles the loops.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from tasks.text.compiled import compiled

ROUNDING = 1.0 - 1e-9
"""Factor that loosens a bound by more than the rounding error of its arithmetic."""

_WORDS_AT_ONCE = 8


class Sets(NamedTuple):
    """`values[starts[r]:starts[r] + sizes[r]]` is set r, ascending; `values` may be mapped."""

    values: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


SETS = types.NamedTuple(
    (types.Array(types.uint32, 1, "C", readonly=True), types.int64[::1], types.int64[::1]), Sets
)
BITMAP = types.uint64[::1]


@compiled(types.int64(types.int64, types.int64, types.float64))
def in_common(one: Any, two: Any, verify: Any) -> Any:
    """The least number of shingles that similar sets of these sizes have in common."""
    return np.int64(np.ceil(verify / (1.0 + verify) * (one + two) * ROUNDING))


@compiled(types.float64(SETS, types.int64, types.int64, types.float64))
def jaccard(sets: Any, one: Any, two: Any, verify: Any) -> Any:
    """The Jaccard similarity of sets `one` and `two`, or -1 where it is below `verify`."""
    start, size = sets.starts[one], sets.sizes[one]
    other_start, other_size = sets.starts[two], sets.sizes[two]
    # |A and B| / |A or B| <= min / max, in rounded arithmetic too: division rounds monotonically.
    if min(size, other_size) / max(size, other_size) < verify:
        return -1.0
    # A merge of two ascending lists. Each side may have so many shingles that the other lacks; once
    # one has more, the threshold is out of reach.
    needed = in_common(size, other_size, verify)
    spare, other_spare = size - needed, other_size - needed
    i = j = 0
    while i < size and j < other_size:
        mine = sets.values[start + i]
        theirs = sets.values[other_start + j]
        # Booleans as numbers: no branch that the CPU would mispredict half the time.
        i += mine <= theirs
        j += theirs <= mine
        spare -= mine < theirs
        other_spare -= theirs < mine
        if spare < 0 or other_spare < 0:
            return -1.0
    common = i - (size - needed - spare)  # visited, less those that the other side lacks
    similarity = common / (size + other_size - common)
    return similarity if similarity >= verify else -1.0


def bitmap_words(size: float) -> int:
    """Words (64 bits) of a bitmap for sets of about this size: 8 to 16 bits a shingle, <= 8 kB."""
    return 1 << min((int(size) // 8).bit_length(), 10)


@compiled(types.void(SETS, types.int64, BITMAP))
def fill_bitmap(sets: Any, rank: Any, bitmap: Any) -> None:
    """Set bit b of `bitmap` to the parity of the number of the set's shingles that map to b.

    The number of words of `bitmap` is a power of two.
    """
    bitmap[:] = 0
    mask = np.uint32(64 * bitmap.shape[0] - 1)
    for index in range(sets.starts[rank], sets.starts[rank] + sets.sizes[rank]):
        bit = sets.values[index] & mask
        bitmap[bit >> np.uint32(6)] ^= np.uint64(1) << np.uint64(bit & np.uint32(63))


@compiled(types.int64(types.uint64))
def _ones(word: Any) -> Any:
    """Number of bits set, summed in pairs, fours and bytes.

    LLVM recognises the pattern and uses the CPU's population count where there is one.
    """
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + (
        (word >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled(types.boolean(BITMAP, BITMAP, types.int64))
def within(one: Any, two: Any, most: Any) -> Any:
    """Whether two bitmaps differ in at most `most` bits.

    A shingle of both sets changes both bitmaps alike; one of a single set flips one bit. So the
    bitmaps differ in at most as many bits as there are shingles in one set only (Sandes et al.,
    "Bitmap filter: speeding up exact set similarity joins with bitwise operations", Information
    Systems 88, 2020).
    """
    differing = np.int64(0)
    for first in range(0, one.shape[0], _WORDS_AT_ONCE):
        for index in range(first, min(first + _WORDS_AT_ONCE, one.shape[0])):
            differing += _ones(one[index] ^ two[index])
        if differing > most:
            return False
    return True
