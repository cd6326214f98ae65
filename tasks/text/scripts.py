"""Scripts that are written without spaces between words.

Where a script marks no word boundaries, splitting on spaces yields whole sentences, so shingles,
n-gram overlaps and word counts must count characters instead. This module is the only list of those
scripts.

Bopomofo, Tibetan and Javanese are left out: the first occurs only in glosses, the others separate
syllables by punctuation, which splits them already.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UNSPACED_RANGES: tuple[tuple[str, int, int], ...] = (
    ("Thai", 0x0E00, 0x0E7F),
    ("Lao", 0x0E80, 0x0EFF),
    ("Myanmar", 0x1000, 0x109F),
    ("Khmer", 0x1780, 0x17FF),
    ("Khmer", 0x19E0, 0x19FF),
    ("Han", 0x2E80, 0x2FDF),  # radicals
    ("Han", 0x3005, 0x3007),  # iteration mark, closing mark, zero
    ("Han", 0x3021, 0x3029),  # Hangzhou numerals
    ("Han", 0x3038, 0x303B),
    ("Hiragana", 0x3041, 0x309F),
    ("Katakana", 0x30A0, 0x30FF),
    ("Katakana", 0x31F0, 0x31FF),
    ("Han", 0x3400, 0x4DBF),
    ("Han", 0x4E00, 0x9FFF),
    ("Myanmar", 0xA9E0, 0xA9FF),
    ("Myanmar", 0xAA60, 0xAA7F),
    ("Han", 0xF900, 0xFAFF),
    ("Katakana", 0xFF66, 0xFF9F),
    ("Hiragana", 0x1B000, 0x1B16F),  # kana supplements, both syllabaries
    ("Han", 0x20000, 0x3FFFF),
)
"""(script, first code point, last code point), ascending and disjoint, from the Unicode blocks."""

_FIRST_ARRAY = np.array([first for _, first, _ in UNSPACED_RANGES], dtype=np.int64)
_LAST_ARRAY = np.array([last for _, _, last in UNSPACED_RANGES], dtype=np.int64)

UNSPACED_CLASS = "".join(f"{chr(first)}-{chr(last)}" for _, first, last in UNSPACED_RANGES)
"""The same ranges as the inside of a regular expression's character class."""


def unspaced_mask(code_points: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.bool_]:
    """Whether each code point, in an array of any shape, belongs to an unspaced script."""
    index = np.searchsorted(_FIRST_ARRAY, code_points, side="right") - 1
    inside: npt.NDArray[np.bool_] = (index >= 0) & (
        code_points <= _LAST_ARRAY[np.maximum(index, 0)]
    )
    return inside


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """The code points of `text`, in order, as a read-only array."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def unspaced_share(text: str) -> float:
    """Share of the characters of `text` that belong to an unspaced script (0.0 for empty text)."""
    return float(unspaced_mask(code_points(text)).mean()) if text else 0.0
