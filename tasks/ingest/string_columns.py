"""Columns of strings: as UTF-8, and which of them cleaning may change."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.ingest.clean_kernel import classes, examine


class Examined(NamedTuple):
    """Of each text: whether cleaning may change it, its characters, and how many are U+FFFD."""

    flags: npt.NDArray[np.bool_]
    characters: npt.NDArray[np.int64]
    undecoded: npt.NDArray[np.int64]


def examined_text(column: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_], Examined]:
    """(as `strings` gives a column, which rows are no UTF-8, what is to know of the others)."""
    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            return column, np.zeros(len(column), dtype=bool), examined(column)
    except UnicodeError:
        pass
    text, undecodable = strings(column)
    return text, undecodable, examined(text)


def examined(text: pa.Array) -> Examined:
    """What the compiled loop finds in texts. Raises `UnicodeError` where one is no UTF-8."""
    malformed, flags = np.zeros((2, len(text)), dtype=bool)
    characters, undecoded = np.zeros((2, len(text)), dtype=np.int64)
    found = Examined(flags, characters, undecoded)
    _, offsets, data = text.buffers()
    if data is None or not len(text):
        return found
    width = np.int64 if pa.types.is_large_string(text.type) else np.int32
    starts = np.frombuffer(offsets, width)[text.offset : text.offset + len(text) + 1]
    whole = np.frombuffer(data, np.uint8)
    words = np.frombuffer(data, np.uint64, count=len(whole) // 8)
    examine(whole, words, starts.astype(np.int64), classes(), malformed, *found)
    if malformed.any():
        raise UnicodeError(f"{int(malformed.sum())} of {len(text)} texts are no UTF-8")
    return found


def strings(column: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """(a column as valid UTF-8, which rows are none); those are null."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    wide = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
    undecodable = np.zeros(len(column), dtype=bool)
    if pa.types.is_fixed_size_binary(kind):
        column = column.cast(pa.binary())
    target = pa.large_string() if wide else pa.string()
    try:
        found = column.cast(target)
        found.validate(full=True)
    except pa.ArrowInvalid:
        values: list[str | None] = []
        for row, value in enumerate(column.cast(pa.large_binary())):
            data = value.as_py()
            try:
                values.append(None if data is None else data.decode())
            except UnicodeDecodeError:
                undecodable[row] = True
                values.append(None)
        found = pa.array(values, target)
    return found, undecodable
