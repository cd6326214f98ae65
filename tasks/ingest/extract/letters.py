"""Compiled parts of `scan`: names, attributes and characters.

Hashes are FNV-1a of 64 bits (Fowler, Noll, Vo), as `names.hash_of` has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.ingest.extract.columns import (
    ARIA_HIDDEN,
    ARROW,
    AT,
    B_DIGITS,
    B_LAST,
    B_MARKS,
    B_PUNCTUATION,
    B_SENTENCES,
    B_UPPER,
    BAR,
    BYTES,
    COLON,
    COPYRIGHT,
    DIGIT,
    HASHES,
    HIDDEN,
    OTHER,
    PRICE,
    QUOTE,
    SENTENCE_END,
)  # fmt: skip
from tasks.ingest.extract.tables import lookup, place
from tasks.text.compiled import compiled

OFFSET, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_HIDDEN, _ARIA = np.uint64(1 << HIDDEN), np.uint64(1 << ARIA_HIDDEN)


@compiled(types.Tuple((types.uint64, types.int64))(BYTES, types.int64))
def read_name(html: Any, at: Any) -> Any:
    """(hash of an element's name in lower case, place behind it)."""
    name = OFFSET
    while at < html.shape[0] and html[at] != 62 and html[at] > 32:
        byte = html[at]
        if 65 <= byte <= 90:
            byte = byte | np.uint8(32)
        name = (name ^ np.uint64(byte)) * PRIME
        at += 1
    return name, at


@compiled(types.UniTuple(types.uint64, 2)(BYTES, types.int64, types.int64, HASHES, HASHES))
def word_mask(html: Any, at: Any, end: Any, hashes: Any, masks: Any) -> Any:
    """(categories of the words of an attribute's value, hash of its letters). A word ends where
    its letters do, and before a capital: post-body, postBody, post_body.
    """
    mask = np.uint64(0)
    letters = OFFSET
    word = OFFSET
    length = 0
    lower = False  # whether the byte before is a small letter
    while at <= end:
        byte = html[at] if at < end else np.uint8(32)
        is_upper = 65 <= byte <= 90
        is_letter = is_upper or 97 <= byte <= 122 or byte >= 128
        if (not is_letter or (is_upper and lower)) and length:
            if length > 1:
                known = lookup(hashes, word)
                if known >= 0:
                    mask |= masks[known]
            word, length = OFFSET, 0
        if is_letter:
            word = (word ^ np.uint64(byte | 32)) * PRIME
            letters = (letters ^ np.uint64(byte | 32)) * PRIME
            length += 1
        elif byte == 32:
            letters = (letters ^ np.uint64(32)) * PRIME
        lower = bool(is_letter and not is_upper)
        at += 1
    return mask, letters


@compiled(types.boolean(BYTES, types.int64, types.int64))
def has_hiding_class(html: Any, at: Any, end: Any) -> Any:
    """Whether a class is hidden, is-hidden, invisible or visually-hidden."""
    while at < end:
        start = at
        while at < end and html[at] > 32:
            at += 1
        size = at - start
        if size == 6 or size == 9 or size == 15:
            tail = at - 6
            if (
                html[tail] == 104
                and html[tail + 1] == 105
                and html[tail + 2] == 100
                and html[tail + 3] == 100
                and html[tail + 4] == 101
                and html[tail + 5] == 110
                and (size == 6 or html[tail - 1] == 45)
            ):
                return True
            if size == 9 and html[start] == 105 and html[start + 2] == 118 and html[at - 1] == 101:
                return True
        at += 1
    return False


@compiled(types.boolean(BYTES, types.int64, types.int64))
def has_hiding_style(html: Any, at: Any, end: Any) -> Any:
    """Whether a style has display: none or visibility: hidden."""
    while at + 11 < end:
        if html[at] == 100 and html[at + 7] == 58:  # display:
            value = at + 9 if html[at + 8] == 32 else at + 8
            if html[value] == 110 and html[value + 1] == 111:
                return True
        elif html[at] == 118 and html[at + 10] == 58:  # visibility:
            value = at + 12 if html[at + 11] == 32 else at + 11
            if html[value] == 104:
                return True
        at += 1
    return False


@compiled(
    types.Tuple((types.int64, types.uint64, types.uint64, types.uint64))(
        BYTES, types.int64, types.int64, HASHES, HASHES
    )
)
def read_attributes(html: Any, at: Any, tag: Any, hashes: Any, masks: Any) -> Any:
    """(place behind a start tag, categories of its class, id and role, hash of its name and class,
    bits of how it is hidden).
    """
    size = html.shape[0]
    own = hides = np.uint64(0)
    letters = np.uint64(tag)
    while at < size and html[at] != 62:
        while at < size and html[at] <= 32:
            at += 1
        key = at
        while at < size and html[at] > 32 and html[at] != 61 and html[at] != 62:
            at += 1
        length = at - key
        value = end = at
        if at + 1 < size and html[at] == 61 and html[at + 1] == 34:
            value = end = at + 2
            while end < size and html[end] != 34:
                end += 1
            at = end + 1
        elif length == 0 and at < size and html[at] != 62:
            at += 1
        if length == 5 and html[key] == 99 and html[key + 1] == 108:  # class
            mask, its_letters = word_mask(html, value, end, hashes, masks)
            own |= mask
            letters = (letters ^ its_letters) * PRIME
            if has_hiding_class(html, value, end):
                hides |= _ARIA
        elif (length == 2 and html[key] == 105 and html[key + 1] == 100) or (
            length == 4 and html[key] == 114 and html[key + 1] == 111
        ):  # id, role
            mask, _ = word_mask(html, value, end, hashes, masks)
            own |= mask
        elif length == 6 and html[key] == 104 and html[key + 1] == 105:  # hidden
            hides |= _HIDDEN
        elif length == 11 and html[key] == 97 and html[key + 5] == 104:  # aria-hidden
            if end - value == 4 and html[value] == 116:
                hides |= _ARIA
        elif (
            length == 5
            and html[key] == 115
            and html[key + 1] == 116  # style
            and has_hiding_style(html, value, end)
        ):
            hides |= _HIDDEN
    return at + 1, own, letters, hides


@compiled(types.Tuple((types.uint8, types.int64))(BYTES, types.int64, types.int64))
def read_character(html: Any, at: Any, stop: Any) -> Any:
    """(first byte of the character at `at`, references resolved; its length in the source). Text
    has the references &amp; &lt; &gt; &quot; and &nbsp;, which counts as a space.
    """
    byte = html[at]
    length = 1
    if byte == 38:
        if at + 4 < stop and html[at + 1] == 97 and html[at + 4] == 59:
            length = 5
        elif at + 3 < stop and html[at + 3] == 59:
            byte = np.uint8(60) if html[at + 1] == 108 else np.uint8(62)
            length = 4
        elif at + 5 < stop and html[at + 1] == 110 and html[at + 5] == 59:
            byte = np.uint8(32)
            length = 6
        elif at + 5 < stop and html[at + 1] == 113 and html[at + 5] == 59:
            byte = np.uint8(34)
            length = 6
    elif byte >= 0xF0:
        length = 4
    elif byte >= 0xE0:
        length = 3
    elif byte >= 0xC0:
        length = 2
    return byte, min(length, stop - at)


@compiled(types.boolean(BYTES, types.int64, types.uint8))
def is_letter(html: Any, at: Any, byte: Any) -> Any:
    """Whether a character, not white space, is part of a word: letters and digits of any script."""
    if byte < 0x80:
        return 97 <= (byte | 32) <= 122 or 48 <= byte <= 57 or byte == 95
    if byte == 0xE2:
        return html[at + 1] > 0x82  # general punctuation, currencies
    if byte == 0xE3:
        return html[at + 1] != 0x80  # CJK punctuation
    if byte == 0xEF and html[at + 1] == 0xBC:
        return html[at + 2] >= 0xA1  # before: fullwidth punctuation
    return byte >= 0xC3


@compiled(types.void(BYTES, types.int64, types.int64, types.uint8, types.int32[::1]))
def count_character(html: Any, at: Any, stop: Any, byte: Any, block: Any) -> None:
    """Add a character to the counts of a block's row."""
    last = OTHER
    if byte < 0x80:
        if 65 <= byte <= 90:
            block[B_UPPER] += 1
        elif 48 <= byte <= 57:
            block[B_DIGITS] += 1
            last = DIGIT
        elif byte == 44 or byte == 59 or byte == 58:
            block[B_PUNCTUATION] += 1
            last = COLON if byte == 58 else OTHER
        elif byte == 46 or byte == 33 or byte == 63:
            if at + 1 >= stop or html[at + 1] <= 32 or html[at + 1] == 38 or html[at + 1] == 34:
                block[B_SENTENCES] += 1
            last = SENTENCE_END
        elif byte == 36:
            block[B_MARKS] |= PRICE
        elif byte == 124:
            block[B_MARKS] |= BAR
        elif byte == 64:
            block[B_MARKS] |= AT
        elif byte == 62:
            block[B_MARKS] |= ARROW
        elif byte == 34 or byte == 39 or byte == 41:
            last = QUOTE
    else:
        second = html[at + 1]
        if byte == 0xC2:
            if second == 0xA9:
                block[B_MARKS] |= COPYRIGHT
            elif second == 0xA3 or second == 0xA5:
                block[B_MARKS] |= PRICE
            elif second == 0xBB:
                block[B_MARKS] |= ARROW
                last = SENTENCE_END
        elif byte == 0xE2 and second == 0x80:
            third = html[at + 2]
            if third == 0xA6 or third == 0x9D:
                last = SENTENCE_END
            elif third == 0xBA:
                block[B_MARKS] |= ARROW
            elif third == 0xA2:
                block[B_MARKS] |= BAR
        elif byte == 0xE2 and second == 0x82:
            block[B_MARKS] |= PRICE
        elif byte == 0xE3 and second == 0x80:
            if html[at + 2] == 0x82:  # 。
                block[B_SENTENCES] += 1
                last = SENTENCE_END
            elif html[at + 2] == 0x81:  # 、
                block[B_PUNCTUATION] += 1
        elif byte == 0xEF and second == 0xBC:
            if html[at + 2] == 0x81 or html[at + 2] == 0x9F:  # ！ ？
                block[B_SENTENCES] += 1
                last = SENTENCE_END
            elif html[at + 2] == 0x8C:  # ，
                block[B_PUNCTUATION] += 1
        elif byte == 0xD8 or byte == 0xDB:
            if second == 0x9F or (byte == 0xDB and second == 0x94):  # ؟ ۔
                block[B_SENTENCES] += 1
                last = SENTENCE_END
            elif byte == 0xD8 and second == 0x8C:  # ،
                block[B_PUNCTUATION] += 1
        elif byte == 0xE0 and second == 0xA5 and html[at + 2] == 0xA4:  # ।
            block[B_SENTENCES] += 1
            last = SENTENCE_END
    block[B_LAST] = last


@compiled(types.int64(BYTES, types.int64, types.uint8))
def kind_of_first(html: Any, at: Any, byte: Any) -> Any:
    """Kind of a block's first character, see `columns`."""
    if 48 <= byte <= 57:
        return 1
    if 65 <= byte <= 90 or (byte == 0xC3 and html[at + 1] < 0x9F):
        return 2
    if 97 <= byte <= 122 or byte == 0xC3:
        return 3
    return 4 if is_letter(html, at, byte) else 0


@compiled(types.void(BYTES, types.uint8, types.uint64[::1], types.uint8[::1]))
def add_words(text: Any, bit: Any, keys: Any, bits: Any) -> None:
    """Set a bit for each word of a text, as `scan` hashes them, in a table."""
    word, length = OFFSET, 0
    for at in range(text.shape[0] + 1):
        byte = text[at] if at < text.shape[0] else np.uint8(32)
        if byte >= 0x80 or 97 <= (byte | 32) <= 122 or 48 <= byte <= 57 or byte == 95:
            word = (word ^ np.uint64(byte | 32 if byte < 0x80 else byte)) * PRIME
            length += 1
        elif length:
            bits[place(keys, word)] |= bit
            word, length = OFFSET, 0
