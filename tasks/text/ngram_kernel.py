"""The compiled loop behind `tasks.text.ngrams`: which windows may be one of the grams looked
for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.text.compiled import compiled

_HASHES, _BITS = types.uint64[::1], types.Array(types.uint8, 1, "C", readonly=True)


@compiled(types.int64(_HASHES, _BITS, types.int64, types.int64[::1]))
def possible(windows: Any, bits: Any, log_bits: int, places: Any) -> int:
    """Write the places of windows that may be in the Bloom filter `bits` to `places`; return how
    many.

    A hash has two bits there, at its first and at its last `log_bits` bits.
    """
    shift = np.uint64(64 - log_bits)
    mask = (np.uint64(1) << np.uint64(log_bits)) - np.uint64(1)
    found = 0
    for place in range(windows.shape[0]):
        index = windows[place] >> shift
        if bits[index >> np.uint64(3)] >> np.uint8(index & np.uint64(7)) & 1:
            index = windows[place] & mask
            if bits[index >> np.uint64(3)] >> np.uint8(index & np.uint64(7)) & 1:
                places[found] = place
                found += 1
    return found
