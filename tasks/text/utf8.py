"""Compiled helpers for loops over UTF-8 bytes; importing compiles them (a fraction of a second)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.text.compiled import compiled

BYTES_IN = types.Array(types.uint8, 1, "C", readonly=True)


@compiled(types.uint64(types.uint64))
def mix(word: Any) -> Any:
    """MurmurHash3's 64-bit finaliser: a bijection that spreads every bit."""
    word = (word ^ (word >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    word = (word ^ (word >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return word ^ (word >> np.uint64(33))


@compiled(types.UniTuple(types.int64, 2)(BYTES_IN, types.int64))
def decode(data: Any, position: Any) -> Any:
    """(code point, length in bytes) of the character at `position` of valid UTF-8."""
    first = np.int64(data[position])
    if first < 0x80:
        return first, 1
    second = np.int64(data[position + 1]) & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, 2
    third = np.int64(data[position + 2]) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | (
        np.int64(data[position + 3]) & 0x3F
    ), 4
