"""The compiled loop behind `tasks.text.ngrams`: which windows may be one of the grams searched for.

A Bloom filter (Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970) of
2**log_bits bits. A window hash is mixed well enough for its own first and last `log_bits` bits to
be the two bit numbers. Both are set for every gram, so a window with a clear bit is no gram; the
few others are looked up in a sorted array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.text.compiled import compiled

_HASHES, _BITS = types.uint64[::1], types.Array(types.uint8, 1, "C", readonly=True)


@compiled(types.int64(_HASHES, _BITS, types.int64, types.int64[::1]))
def possible(windows: Any, bits: Any, log_bits: int, places: Any) -> int:
    """Write the positions of windows that may be in the filter `bits`; return how many.

    `windows`: uint64 (N,), hashes; `bits`: uint8 (2**log_bits / 8,), bit 0 of a byte first;
    `places`: int64 (N,), of which the result's number are filled.
    """
    shift = np.uint64(64 - log_bits)
    mask = (np.uint64(1) << np.uint64(log_bits)) - np.uint64(1)
    written = 0
    for place in range(windows.shape[0]):
        bit = windows[place] >> shift
        if bits[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7)) & 1:
            # Few windows get here, so the second bit's cache miss is rarely paid.
            bit = windows[place] & mask
            if bits[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7)) & 1:
                places[written] = place
                written += 1
    return written
