"""How deduplication folds characters, and the class of each folded character.

A text is folded to NFKC, lower case, NFC. Then letters, numbers, marks, unassigned and private-use
characters are kept; format characters and variation selectors are ignored; everything else
(punctuation, symbols, separators, controls, zero-width space) separates words. Tables by code point
let a compiled loop do the same without a Python object per character.

Outputs depend on the Unicode tables of the running Python (`unicodedata.unidata_version`).
"""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.text.scripts import unspaced_mask

SEPARATOR, WORD, UNSPACED, IGNORED = range(4)
"""Classes of folded characters: separates words, part of a word, a word by itself, ignored."""
CONTEXTUAL = np.uint32(0xFFFFFFFF)
"""In the table of folded characters: depends on its neighbours, so `fold` the whole text."""

_UNICODE_SIZE = 0x110000
_ZERO_WIDTH_SPACE = 0x200B
_VARIATION_SELECTORS = ((0x180B, 0x180D), (0x180F, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
_LOOKED_UP = (
    range(0x3400),
    range(0x4DC0, 0x4E00),
    range(0xA000, 0xAC00),
    range(0xD7A4, 0xE000),
    range(0xF900, 0x20000),
    range(0x2F800, 0x2FA20),
    range(0xE0000, 0xE0200),
)
"""Code points to look up in the Unicode database. All others are ideographs, Hangul syllables,
private use or unassigned: parts of words that fold to themselves.
"""


@dataclass(frozen=True)
class Tables:
    """Lookup tables for folding without Python objects.

    By code point, shape (0x110000,): `classes`, the class of a folded character, and `folded`, the
    code point that a character folds to. By byte, shape (256,): `ascii`, the folded byte of an
    ASCII letter or digit, 0 for any other byte.
    """

    classes: npt.NDArray[np.uint8]
    folded: npt.NDArray[np.uint32]
    ascii: npt.NDArray[np.uint8]


def fold(text: str) -> str:
    """`text` in NFKC, lower case, NFC: the form in which character classes are looked up."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).lower())


@functools.cache
def tables() -> Tables:
    """Build the tables from the interpreter's Unicode database (60 ms, once per process).

    A character is `CONTEXTUAL` where it cannot be folded by itself: it combines with the one before
    it, folds to several characters, or is a capital sigma (whose lower case depends on whether it
    ends a word).
    """
    classes = np.full(_UNICODE_SIZE, WORD, dtype=np.uint8)
    folded = np.arange(_UNICODE_SIZE, dtype=np.uint32)
    # Characters that may combine with the one before: Hangul vowels and final consonants here,
    # marks and parts of decompositions below.
    composing = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}
    folds: dict[int, str] = {}
    for points in _LOOKED_UP:
        characters = list(map(chr, points))
        categories = list(map(unicodedata.category, characters))
        classes[points.start : points.stop] = [_class_of(category) for category in categories]
        for point, character, category in zip(points, characters, categories, strict=True):
            if category == "Cn":
                continue
            decomposition = unicodedata.decomposition(character)
            if decomposition and decomposition[0] != "<":
                composing.update(int(part, 16) for part in decomposition.split()[1:])
            if category[0] == "M" and unicodedata.combining(character):
                composing.add(point)
            if decomposition or category in ("Lu", "Lt") or character.lower() != character:
                folds[point] = fold(character)
    for point, text in folds.items():
        sigma = "\N{GREEK CAPITAL LETTER SIGMA}" in unicodedata.normalize("NFKC", chr(point))
        folded[point] = (
            CONTEXTUAL if sigma or len(text) != 1 or ord(text) in composing else ord(text)
        )
    folded[list(composing)] = CONTEXTUAL
    for first, last in _VARIATION_SELECTORS:
        classes[first : last + 1] = IGNORED
    classes[_ZERO_WIDTH_SPACE] = SEPARATOR  # a format character (Cf), but it marks a word boundary
    unspaced = unspaced_mask(np.arange(_UNICODE_SIZE, dtype=np.uint32))
    classes[unspaced & (classes == WORD)] = UNSPACED
    letters = np.zeros(256, dtype=np.uint8)
    letters[:128] = np.where(classes[:128] == WORD, folded[:128], 0)
    for table in (classes, folded, letters):
        table.setflags(write=False)
    return Tables(classes, folded, letters)


@functools.cache
def _class_of(category: str) -> int:
    if category[0] in "PSZ" or category == "Cc":
        return SEPARATOR
    return IGNORED if category == "Cf" else WORD
