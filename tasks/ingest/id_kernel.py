"""The compiled loop that makes ids of many records of one file: `readers.document_id` of each.

An id is BLAKE2b of 48 bytes, the file's sha256 and the record's place, cut to 16 bytes and written
in hexadecimal digits. 48 bytes are one block, so that an id is one compression of RFC 7693 (section
3.2) with the parameters of an unkeyed hash of 16 bytes.

Importing this module compiles the loop, or loads what was compiled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import types

from tasks.text.compiled import compiled

ID_CHARACTERS = 32
_INITIAL = np.array(
    [
        0x6A09E667F3BCC908,
        0xBB67AE8584CAA73B,
        0x3C6EF372FE94F82B,
        0xA54FF53A5F1D36F1,
        0x510E527FADE682D1,
        0x9B05688C2B3E6C1F,
        0x1F83D9ABFB41BD6B,
        0x5BE0CD19137E2179,
    ],
    dtype=np.uint64,
)
_PARAMETERS = 0x01010010  # depth 1, fan-out 1, no key, 16 bytes
_LENGTH = 48
_ORDER = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    ],
    dtype=np.int64,
)
"""Which words of the message each round mixes in (RFC 7693, section 2.7)."""

_WORD, _WORDS, _AT = types.uint64, types.uint64[::1], types.int64
_WORDS_IN = types.Array(types.uint64, 1, "C", readonly=True)


@compiled(types.uint64(types.uint64, types.uint64))
def _rotated(word: Any, bits: Any) -> Any:
    return (word >> bits) | (word << (np.uint64(64) - bits))


@compiled(
    types.void(
        _WORDS, types.int64, types.int64, types.int64, types.int64, types.uint64, types.uint64
    )
)
def _mix(v: Any, a: Any, b: Any, c: Any, d: Any, x: Any, y: Any) -> None:
    v[a] = v[a] + v[b] + x
    v[d] = _rotated(v[d] ^ v[a], np.uint64(32))
    v[c] = v[c] + v[d]
    v[b] = _rotated(v[b] ^ v[c], np.uint64(24))
    v[a] = v[a] + v[b] + y
    v[d] = _rotated(v[d] ^ v[a], np.uint64(16))
    v[c] = v[c] + v[d]
    v[b] = _rotated(v[b] ^ v[c], np.uint64(63))


@compiled(types.void(_WORDS_IN, _WORDS, types.uint64[:, ::1]))
def _hash_places(key: Any, places: Any, out: Any) -> None:
    """Read: key (4 words of the sha256), places (N,). Written: out (N, 2), the ids' words."""
    m = np.zeros(16, dtype=np.uint64)
    v = np.empty(16, dtype=np.uint64)
    for word in range(4):
        m[word] = key[word]
    for row in range(places.shape[0]):
        m[4] = places[row]
        for word in range(8):
            v[word] = _INITIAL[word]
            v[word + 8] = _INITIAL[word]
        v[0] ^= np.uint64(_PARAMETERS)
        first, second = v[0], v[1]
        v[12] ^= np.uint64(_LENGTH)
        v[14] = ~v[14]
        for turn in range(12):
            order = _ORDER[turn]
            for column in range(4):
                _mix(
                    v,
                    column,
                    column + 4,
                    column + 8,
                    column + 12,
                    m[order[2 * column]],
                    m[order[2 * column + 1]],
                )
            for column in range(4):
                _mix(
                    v,
                    column,
                    4 + (column + 1) % 4,
                    8 + (column + 2) % 4,
                    12 + (column + 3) % 4,
                    m[order[8 + 2 * column]],
                    m[order[9 + 2 * column]],
                )
        out[row, 0] = first ^ v[0] ^ v[8]
        out[row, 1] = second ^ v[1] ^ v[9]


_DIGITS = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint16)


def hashes_of(file_sha256: bytes, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Ids of the records at places `rows`, as two words each; shape (N, 2)."""
    out = np.empty((len(rows), 2), dtype=np.uint64)
    _hash_places(np.frombuffer(file_sha256, "<u8"), rows.astype(np.uint64), out)
    return out


def leading(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The numbers that the first 16 digits of ids are."""
    return np.ascontiguousarray(hashes[:, 0]).byteswap()


def as_ids(hashes: npt.NDArray[np.uint64]) -> pa.Array:
    """Ids as they are written: 32 hexadecimal digits each."""
    digits = _DIGITS[np.ascontiguousarray(hashes).view(np.uint8)]
    offsets = np.arange(0, (len(hashes) + 1) * ID_CHARACTERS, ID_CHARACTERS, dtype=np.int32)
    return pa.StringArray.from_buffers(len(hashes), pa.py_buffer(offsets), pa.py_buffer(digits))
