"""What fastText sees of a text: one line.

- `plain`, for classifiers trained elsewhere: the first characters, line feeds as spaces, as DCLM's
  and others' are.
- `words`, for those trained here: lower case, sentence marks apart from words, and a space around
  every character of a script that writes none (`tasks.text.scripts`), which is a word of its own.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.text.scripts import UNSPACED_RANGES, unspaced_mask

Preparation = Literal["plain", "words"]

_MARKS = '.,;:!?()"'
_AS_SPACES = bytes.maketrans(f"{_MARKS}\n".encode(), b" " * (len(_MARKS) + 1))
"""Bytes below 128 stand for themselves in UTF-8, and for nothing else."""

_LEADING = {0xE0, 0xE1, *range(0xE3, 0xF5)}
_NOT_LEADING = bytes(byte for byte in range(256) if byte not in _LEADING)
"""Bytes that begin no character of an unspaced script, but for radicals among the punctuation from
U+2000 on, which most Western texts have. Cheaper to look for than a pattern.
"""


def prepare(text: str, preparation: Preparation, max_characters: int) -> str:
    """The line of a text, without its closing newline; "" for one without words."""
    if preparation == "plain":
        return text[:max_characters].replace("\n", " ").strip()
    lower = text[:max_characters].lower().encode("utf-8", "surrogatepass")
    line = lower.translate(_AS_SPACES).decode("utf-8", "replace")
    if lower.translate(None, _NOT_LEADING):
        line = apart(line)
    return line.strip()


def apart(line: str) -> str:
    """The line with a space before each run of characters of unspaced scripts, and after each of
    these characters.

    Not empty. By arrays of code points: a pattern's substitution takes as long as fastText itself.
    """
    points = np.array([line]).view("<u4")
    inside = _unspaced().take(points, mode="clip")
    taken = inside.copy()  # a space stands before a character if it or the one before is inside
    taken[1:] |= inside[:-1]
    taken += 1
    ends = np.cumsum(taken, dtype=np.int64)
    found = np.full(ends[-1] + inside[-1] + 1, ord(" "), "<u4")
    found[ends] = points
    return found[1:].tobytes().decode("utf-32-le")


@functools.lru_cache(maxsize=1)
def _unspaced() -> npt.NDArray[np.uint8]:
    """1 for each code point of an unspaced script; the last entry, 0, is of all that follow."""
    return unspaced_mask(np.arange(UNSPACED_RANGES[-1][2] + 2, dtype=np.uint32)).astype(np.uint8)
