"""The compiled loops behind `tasks.text.shingles`.

`shingle_loop` hashes the shingles (runs of k consecutive words) of a batch of documents in one pass
over their UTF-8 bytes. With k = `size`, all arithmetic modulo 2**64, which is what uint64 does:

1. Decode a character and fold it; its class says what to do. IGNORED: skip it. SEPARATOR (space,
   punctuation): the word in progress ends. WORD: it joins the word. UNSPACED: it is a word.
2. Word hash: FNV-1a over the folded code points c1, c2, ... with another multiplier P,
   h = (...((SEED ^ c1) P ^ c2) P ...), finished by MurmurHash3's mixer: w = mix(h).
3. Shingle hash: a polynomial over the last k words, S = w1 B^(k-1) + ... + w(k-1) B + wk. A word
   that enters costs one step (Karp and Rabin, 1987): S <- S B + w(new) - w(leaving) B^k.
4. Once k words are complete, write mix(S + k * LENGTH_SALT): the salt keeps the one short shingle
   of a text of fewer than k words apart from a full shingle of the same value.
5. The folded words, one space between two of them, are written as the normalised text.
6. The end of the document counts as one more SEPARATOR character, so that the last word is closed.

Example, k = 2: "The cat; the CAT sat." is normalised to "the cat the cat sat" and has the shingles
"the cat", "cat the", "the cat", "cat sat": four hashes, of which the first and third are equal.

Shingles: Broder, "On the resemblance and containment of documents", 1997.

Importing this module compiles the loops, or loads what was compiled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.text.characters import CONTEXTUAL, IGNORED, SEPARATOR, UNSPACED
from tasks.text.compiled import compiled
from tasks.text.utf8 import BYTES_IN, decode, mix

WORD_SEED = 0xCBF29CE484222325
WORD_PRIME = 0x9FB21C651E98DF25
SHINGLE_BASE = 0x9E3779B97F4A7C15
LENGTH_SALT = 0xD6E8FEB86659FD93

_ASCII_BLOCK = 64

_POINTS_IN = types.Array(types.uint32, 1, "C", readonly=True)
_BYTES, _FLAGS, _INTS = types.uint8[::1], types.boolean[::1], types.int64[::1]
_HASHES, _HALVES = types.uint64[::1], types.uint32[::1]


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
def find_contextual(data: Any, starts: Any, folded: Any, contextual: Any) -> None:
    """Set `contextual[i]` where document i has a character whose folding needs its neighbours."""
    for document in range(starts.shape[0] - 1):
        contextual[document] = False
        position = starts[document]
        end = starts[document + 1]
        while position < end:
            # A block without a byte above 0x7F is ASCII, which folds by itself: skip it whole.
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
                    contextual[document] = True
                    position = end  # one is enough: leave both loops
                    break


@compiled(
    types.void(
        BYTES_IN,
        _INTS,
        _FLAGS,
        BYTES_IN,
        _POINTS_IN,
        BYTES_IN,
        types.int64,
        types.int64,
        _BYTES,
        _INTS,
        _HASHES,
        _INTS,
        _INTS,
    )
)
def shingle_loop(
    data: Any,
    starts: Any,
    is_folded: Any,
    classes: Any,
    folded: Any,
    letters: Any,
    size: int,
    cap: int,
    normalised: Any,
    normalised_offsets: Any,
    hashes: Any,
    offsets: Any,
    capped: Any,
) -> None:
    """Steps 1 to 6 of the module's docstring, for N documents.

    Read:
        data                uint8: UTF-8; document i is data[starts[i]:starts[i + 1]]
        is_folded           bool (N,): document i was folded as a whole, do not fold it again
        classes, folded     by code point, see `tasks.text.characters.Tables`
        letters             by byte: the folded ASCII letter or digit, 0 for any other byte
        size, cap           words of a shingle; characters of normalised text for `capped`
    Written (allocated by the caller, large enough for any text of these lengths):
        normalised          uint8: normalised texts, document i up to normalised_offsets[i + 1]
        hashes              uint64: shingle hashes, document i up to offsets[i + 1]
        capped              int64 (N,): how many of a document's shingles end within the cap
    """
    base = np.uint64(SHINGLE_BASE)
    prime = np.uint64(WORD_PRIME)
    leaving = np.uint64(1)  # base ** size: weight of the word that leaves the window
    for _ in range(size):
        leaving *= base
    window = np.zeros(size, dtype=np.uint64)  # ring buffer: hashes of the last `size` words
    written = 0  # bytes of `normalised`
    hashed = 0  # shingles in `hashes`
    for document in range(starts.shape[0] - 1):
        position = starts[document]
        end = starts[document + 1]
        first_written = written
        within_cap = hashed  # end of the shingles that count as within the cap
        characters = 0  # of the document's normalised text so far
        word_count = 0
        slot = 0  # of `window`: the oldest word, which the next one replaces
        rolling = np.uint64(0)  # S, not yet mixed
        word = np.uint64(0)  # hash of the word in progress, not yet mixed
        window[:] = 0
        pending_space = False  # written only if another word follows, so never at the end
        in_word = False
        alone = False  # the word in progress is one character of an unspaced script
        while position <= end:
            # 1. At `end` the defaults apply: a separator (step 6).
            point = np.int64(0)
            kind = np.int64(SEPARATOR)
            width = np.int64(1)
            if position < end:
                point, width = decode(data, position)
                if not is_folded[document]:
                    point = np.int64(folded[point])
                kind = np.int64(classes[point])
            position += width
            if kind == IGNORED:
                continue
            if kind == SEPARATOR:
                closes = in_word
                pending_space = written > first_written
            else:
                # An unspaced character is a word by itself: it ends the word before it, and is
                # ended by any character after it.
                closes = in_word and (alone or kind == UNSPACED)
            if closes:
                word = mix(word)  # 2.
                # 3. While the window fills, the word that leaves is 0 and changes nothing.
                rolling = rolling * base + word - window[slot] * leaving
                window[slot] = word
                slot = 0 if slot + 1 == size else slot + 1
                word_count += 1
                in_word = False
                if word_count >= size:  # 4.
                    hashes[hashed] = mix(rolling + np.uint64(size) * np.uint64(LENGTH_SALT))
                    hashed += 1
                    # The first shingle counts whatever its length: none would mean no signature.
                    if characters <= cap or word_count == size:
                        within_cap = hashed
            if kind != SEPARATOR:  # 5.
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
                # Fast path: the following ASCII letters and digits need no decoding, no class and
                # no check for the end of a word. The table's 0 ends the run.
                if not alone:
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
        if 0 < word_count < size:  # a text of fewer words than a shingle is one shingle
            hashes[hashed] = mix(rolling + np.uint64(word_count) * np.uint64(LENGTH_SALT))
            hashed += 1
            within_cap = hashed
        normalised_offsets[document + 1] = written
        offsets[document + 1] = hashed
        capped[document] = within_cap - offsets[document]


@compiled(types.void(_HASHES, _INTS, _HALVES, _INTS))
def distinct_halves(hashes: Any, offsets: Any, sets: Any, set_offsets: Any) -> None:
    """The upper 32 bits of every document's hashes, ascending, without repeats.

    A radix sort by bytes, lowest first: linear whatever the hashes, and faster than a sort by
    comparison for the few hundred hashes of a document.
    """
    longest = 0
    for document in range(offsets.shape[0] - 1):
        longest = max(longest, offsets[document + 1] - offsets[document])
    # Each of the four passes moves the values from one buffer to the other, so that they end in
    # the first.
    front = np.empty(longest, dtype=np.uint32)
    back = np.empty(longest, dtype=np.uint32)
    # By byte of the value, then by that byte's value: how many there are, then the position at
    # which the next one is put.
    places = np.empty((4, 256), dtype=np.int64)
    written = 0
    for document in range(offsets.shape[0] - 1):
        start = offsets[document]
        count = offsets[document + 1] - start
        places[:] = 0
        for index in range(count):
            half = np.uint32(hashes[start + index] >> np.uint64(32))
            front[index] = half
            places[0, half & np.uint32(0xFF)] += 1
            places[1, (half >> np.uint32(8)) & np.uint32(0xFF)] += 1
            places[2, (half >> np.uint32(16)) & np.uint32(0xFF)] += 1
            places[3, half >> np.uint32(24)] += 1
        for digit in range(4):
            place = 0
            for value in range(256):
                occurrences = places[digit, value]
                places[digit, value] = place
                place += occurrences
        for digit in range(4):
            shift = np.uint32(8 * digit)
            source = front if digit % 2 == 0 else back
            target = back if digit % 2 == 0 else front
            for index in range(count):
                half = source[index]
                value = (half >> shift) & np.uint32(0xFF)
                target[places[digit, value]] = half
                places[digit, value] += 1
        for index in range(count):
            if index == 0 or front[index] != front[index - 1]:
                sets[written] = front[index]
                written += 1
        set_offsets[document + 1] = written
