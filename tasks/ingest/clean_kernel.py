"""The compiled loop that finds, among many texts in UTF-8, those that `clean.cleaned` may change.

`examine`, for every text:

1. Say whether it is UTF-8 (Unicode 15, table 3-7): Arrow does not look when it reads strings.
2. Count its characters, and those that are U+FFFD, which stand for bytes that were no text.
3. Flag it where a character is not SAFE in the table, or where it begins or ends with white space.
   A text of nothing but safe characters is in NFC, has no controls and no run of combining marks,
   so that `cleaned` gives it back as it is; without white space at its ends, `strip` does as well.

Flagged texts go the long way through Python; in English web text that is about one in fifty.

Importing this module compiles the loop, or loads what was compiled.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from tasks.text.compiled import compiled
from tasks.text.utf8 import BYTES_IN, decode

UNSAFE, SPACE = 1, 2
_TABLE_END = 0x20000
_COMPATIBILITY = (0x2F800, 0x2FA20)
"""Ideographs that NFC replaces; of all that lies beyond the table, only these are not safe."""
_EACH = 0x0101010101010101
"""One in each byte of a word."""


@cache
def classes() -> npt.NDArray[np.uint8]:
    """UNSAFE and SPACE of each code point below `_TABLE_END`."""
    table = np.zeros(_TABLE_END, dtype=np.uint8)
    for point in (*range(0x20), *range(0x7F, 0xA0), 0xAD, 0x2028, 0x2029, 0xFEFF):
        table[point] = UNSAFE
    table[[0x09, 0x0A]] = 0
    table[0xD800:0xE000] = UNSAFE
    table[0x1161:0x1176] = UNSAFE  # vowels and finals of Hangul, which join what is before them
    table[0x11A8:0x11C3] = UNSAFE
    for point in range(0xC0, _TABLE_END):
        character = chr(point)
        if unicodedata.combining(character):
            table[point] = UNSAFE
        mapping = unicodedata.decomposition(character)
        if not mapping or mapping[0] == "<":
            continue
        parts = [int(part, 16) for part in mapping.split()]
        if len(parts) > 1 and parts[1] < _TABLE_END:
            table[parts[1]] = UNSAFE
        if not unicodedata.is_normalized("NFC", character):
            table[point] = UNSAFE
    for point in range(0x3001):
        if chr(point).isspace():
            table[point] |= SPACE
    return table


@compiled(types.uint64(types.uint64))
def _suspect(word: Any) -> Any:
    """0 where eight bytes are surely ASCII without controls (a line feed makes it unsure)."""
    suspect = word | (word - np.uint64(0x20 * _EACH)) | (word + np.uint64(_EACH))
    return suspect & np.uint64(0x80 * _EACH)


@compiled(types.boolean(BYTES_IN, types.int64, types.int64))
def _is_character(data: Any, position: Any, end: Any) -> Any:
    """Whether the bytes at `position`, of which the first is not ASCII, begin with a character."""
    first = data[position]
    if first < 0xC2 or first > 0xF4:
        return False
    length = 2 + (first >= 0xE0) + (first >= 0xF0)
    if position + length > end:
        return False
    low, high = 0x80, 0xBF
    if first == 0xE0:
        low = 0xA0  # fewer bytes would do
    elif first == 0xED:
        high = 0x9F  # a surrogate
    elif first == 0xF0:
        low = 0x90
    elif first == 0xF4:
        high = 0x8F  # beyond Unicode
    if not low <= data[position + 1] <= high:
        return False
    third = length < 3 or data[position + 2] & 0xC0 == 0x80
    return third and (length < 4 or data[position + 3] & 0xC0 == 0x80)


@compiled(
    types.void(
        BYTES_IN,
        types.Array(types.uint64, 1, "C", readonly=True),
        types.int64[::1],
        types.Array(types.uint8, 1, "C", readonly=True),
        types.boolean[::1],
        types.boolean[::1],
        types.int64[::1],
        types.int64[::1],
    )
)
def examine(
    data: Any,
    words: Any,
    starts: Any,
    classes: Any,
    malformed: Any,
    flags: Any,
    characters: Any,
    undecoded: Any,
) -> None:
    """The steps of the module's docstring, for N texts.

    Read: data (uint8): text i is data[starts[i]:starts[i + 1]]; words (uint64): the
    same bytes, eight at a time, without an incomplete word at the end; classes (uint8)
    Written, shape (N,): malformed (bool: no UTF-8, and the rest says nothing), flags (bool),
    characters (int64), undecoded (int64: of them U+FFFD)
    """
    for text in range(starts.shape[0] - 1):
        position = starts[text]
        end = starts[text + 1]
        count = 0
        replaced = 0
        unsafe = False
        is_text = True
        while position < end:
            if position & 7 == 0:
                word = position >> 3
                while word + 4 <= end >> 3:
                    suspect = _suspect(words[word]) | _suspect(words[word + 1])
                    suspect |= _suspect(words[word + 2]) | _suspect(words[word + 3])
                    if suspect != 0:
                        break
                    word += 4
                while word + 1 <= end >> 3 and _suspect(words[word]) == 0:
                    word += 1
                count += (word << 3) - position
                position = word << 3
                if position == end:
                    break
            byte = data[position]
            if byte < 0x80:
                unsafe |= classes[byte] & UNSAFE != 0
                position += 1
                count += 1
                continue
            is_text = _is_character(data, position, end)
            if not is_text:
                break
            point, length = decode(data, position)
            if point < _TABLE_END:
                unsafe |= classes[point] & UNSAFE != 0
                replaced += point == 0xFFFD
            else:
                unsafe |= _COMPATIBILITY[0] <= point < _COMPATIBILITY[1]
            position += length
            count += 1
        if is_text and count:
            last = end - 1
            while data[last] & 0xC0 == 0x80:
                last -= 1
            for edge in (starts[text], last):
                point, _ = decode(data, edge)
                unsafe |= point < _TABLE_END and classes[point] & SPACE != 0
        malformed[text] = not is_text
        flags[text] = unsafe
        characters[text] = count
        undecoded[text] = replaced
