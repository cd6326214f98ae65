"""The compiled loops behind `tasks.text.shingles`; importing this module compiles them or loads
what was compiled.

All hash arithmetic is modulo 2**64 by intent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.text.characters import CONTEXTUAL, IGNORED, PARTING, UNSPACED
from tasks.text.compiled import compiled
from tasks.text.utf8 import BYTES_IN, decode, mix

WORD_SEED = 0xCBF29CE484222325
WORD_PRIME = 0x9FB21C651E98DF25
SHINGLE_BASE = 0x9E3779B97F4A7C15
LENGTH_SALT = 0xD6E8FEB86659FD93

_ASCII_BLOCK = 64

_POINTS_IN = types.Array(types.uint32, 1, "C", readonly=True)
_BYTES, _FLAGS, _INTS, _HASHES, _HALVES = (
    types.uint8[::1], types.boolean[::1], types.int64[::1], types.uint64[::1], types.uint32[::1],
)  # fmt: skip


@compiled(types.int64(types.int64, _BYTES, types.int64))
def _encode(point: Any, out: Any, position: Any) -> Any:
    """Write one code point as UTF-8 at `position` and return the position after it."""
    if point < 0x80:
        out[position] = point
        return position + 1
    if point < 0x800:
        out[position] = 0xC0 | point >> 6
        out[position + 1] = 0x80 | point & 0x3F
        return position + 2
    if point < 0x10000:
        out[position] = 0xE0 | point >> 12
        out[position + 1] = 0x80 | point >> 6 & 0x3F
        out[position + 2] = 0x80 | point & 0x3F
        return position + 3
    out[position] = 0xF0 | point >> 18
    out[position + 1] = 0x80 | point >> 12 & 0x3F
    out[position + 2] = 0x80 | point >> 6 & 0x3F
    out[position + 3] = 0x80 | point & 0x3F
    return position + 4


@compiled(types.void(BYTES_IN, _INTS, _POINTS_IN, _FLAGS))
def find_contextual(data: Any, starts: Any, folded: Any, found: Any) -> None:
    """Mark the documents that hold a character whose folding depends on its neighbours."""
    for document in range(starts.shape[0] - 1):
        found[document] = False
        position = starts[document]
        end = starts[document + 1]
        while position < end:
            if position + _ASCII_BLOCK <= end:
                union = np.uint8(0)
                for offset in range(_ASCII_BLOCK):
                    union |= data[position + offset]
                if union < 0x80:
                    position += _ASCII_BLOCK
                    continue
            until = min(position + _ASCII_BLOCK, end)
            while position < until:
                if data[position] < 0x80:
                    position += 1
                    continue
                point, width = decode(data, position)
                position += width
                if folded[point] == CONTEXTUAL:
                    found[document] = True
                    position = end
                    break


@compiled(
    types.void(
        BYTES_IN, _INTS, _FLAGS, BYTES_IN, _POINTS_IN, BYTES_IN, types.int64, types.int64,
        _BYTES, _INTS, _HASHES, _INTS, _INTS,
    )
)  # fmt: skip
def shingle_loop(
    data: Any, starts: Any, is_folded: Any, classes: Any, folded: Any, letters: Any, size: int, cap: int,
    normalised: Any, normalised_offsets: Any, hashes: Any, offsets: Any, capped: Any,
) -> None:  # fmt: skip
    """One pass over UTF-8: fold, classify, write normalised bytes, hash words, roll the shingle
    polynomial.

    The document's end is read as one more parting character.
    """
    base = np.uint64(SHINGLE_BASE)
    prime = np.uint64(WORD_PRIME)
    leaving = np.uint64(1)  # base ** size: weight of the word that leaves the window
    for _ in range(size):
        leaving *= base
    window = np.zeros(size, dtype=np.uint64)
    written = 0
    found = 0
    for document in range(starts.shape[0] - 1):
        position = starts[document]
        end = starts[document + 1]
        first_written = written
        within = found
        characters = 0
        word_count = 0
        slot = 0
        rolling = np.uint64(0)
        word = np.uint64(0)
        window[:] = 0
        pending_space = False
        in_word = False
        alone = False  # the word in progress is one character of an unspaced script
        while position <= end:
            point = np.int64(0)
            kind = np.int64(PARTING)
            width = np.int64(1)
            if position < end:
                point, width = decode(data, position)
                if not is_folded[document]:
                    point = np.int64(folded[point])
                kind = np.int64(classes[point])
            position += width
            if kind == IGNORED:
                continue
            if kind == PARTING:
                closes = in_word
                pending_space = written > first_written
            else:
                closes = in_word and (alone or kind == UNSPACED)
            if closes:
                word = mix(word)
                rolling = rolling * base + word - window[slot] * leaving
                window[slot] = word
                slot = 0 if slot + 1 == size else slot + 1
                word_count += 1
                in_word = False
                if word_count >= size:
                    hashes[found] = mix(rolling + np.uint64(size) * np.uint64(LENGTH_SALT))
                    found += 1
                    if characters <= cap or word_count == size:
                        within = found
            if kind != PARTING:
                if pending_space:
                    normalised[written] = 0x20
                    written += 1
                    characters += 1
                    pending_space = False
                written = _encode(point, normalised, written)
                characters += 1
                if not in_word:
                    word = np.uint64(WORD_SEED)
                word = (word ^ np.uint64(point)) * prime
                in_word = True
                alone = kind == UNSPACED
                if not alone:  # the rest of an ASCII word, without asking what it is
                    before = written
                    while position < end:
                        letter = letters[data[position]]
                        if letter == 0:
                            break
                        normalised[written] = letter
                        word = (word ^ np.uint64(letter)) * prime
                        written += 1
                        position += 1
                    characters += written - before
        if 0 < word_count < size:
            hashes[found] = mix(rolling + np.uint64(word_count) * np.uint64(LENGTH_SALT))
            found += 1
            within = found
        normalised_offsets[document + 1] = written
        offsets[document + 1] = found
        capped[document] = within - offsets[document]


@compiled(types.void(_HASHES, _INTS, _HALVES, _INTS))
def distinct_halves(hashes: Any, offsets: Any, sets: Any, set_offsets: Any) -> None:
    """The upper 32 bits of every document's hashes, ascending and each once.

    A radix sort by bytes: linear whatever the hashes, and faster than comparing for the few hundred
    of a document.
    """
    longest = 0
    for document in range(offsets.shape[0] - 1):
        longest = max(longest, offsets[document + 1] - offsets[document])
    one = np.empty(longest, dtype=np.uint32)
    other = np.empty(longest, dtype=np.uint32)
    places = np.empty((4, 256), dtype=np.int64)
    written = 0
    for document in range(offsets.shape[0] - 1):
        start = offsets[document]
        count = offsets[document + 1] - start
        places[:] = 0
        for index in range(count):
            half = np.uint32(hashes[start + index] >> np.uint64(32))
            one[index] = half
            places[0, half & np.uint32(0xFF)] += 1
            places[1, (half >> np.uint32(8)) & np.uint32(0xFF)] += 1
            places[2, (half >> np.uint32(16)) & np.uint32(0xFF)] += 1
            places[3, half >> np.uint32(24)] += 1
        for digit in range(4):
            place = 0
            for value in range(256):
                here = places[digit, value]
                places[digit, value] = place
                place += here
        for digit in range(4):
            shift = np.uint32(8 * digit)
            source = one if digit % 2 == 0 else other
            target = other if digit % 2 == 0 else one
            for index in range(count):
                half = source[index]
                value = (half >> shift) & np.uint32(0xFF)
                target[places[digit, value]] = half
                places[digit, value] += 1
        for index in range(count):
            if index == 0 or one[index] != one[index - 1]:
                sets[written] = one[index]
                written += 1
        set_offsets[document + 1] = written
