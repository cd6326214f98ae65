"""What fastText sees of a text: one line.

- `plain`, for classifiers trained elsewhere: the first characters, line feeds as spaces, as DCLM's
  and others' are.
- `words`, for those trained here: lower case, sentence marks apart from words, and a space around
  every character of a script that writes none (`tasks.text.scripts`), which is a word of its own.
"""

from __future__ import annotations

import re
from typing import Literal

from tasks.text.scripts import UNSPACED_CLASS

Preparation = Literal["plain", "words"]

_MARKS = '.,;:!?()"'
_AS_SPACES = bytes.maketrans(f"{_MARKS}\n".encode(), b" " * (len(_MARKS) + 1))
"""Bytes below 128 stand for themselves in UTF-8, and for nothing else."""

_LEADING = {0xE0, 0xE1, *range(0xE3, 0xF5)}
_NOT_LEADING = bytes(byte for byte in range(256) if byte not in _LEADING)
"""Bytes that begin no character of an unspaced script, but for radicals among the punctuation from
U+2000 on, which most Western texts have. Cheaper to look for than a pattern.
"""

_UNSPACED = re.compile(f"[{UNSPACED_CLASS}]+")


def prepare(text: str, preparation: Preparation, max_characters: int) -> str:
    """The line of a text, without its closing newline; "" for one without words."""
    if preparation == "plain":
        return text[:max_characters].replace("\n", " ").strip()
    lower = text[:max_characters].lower().encode("utf-8", "surrogatepass")
    line = lower.translate(_AS_SPACES).decode("utf-8", "replace")
    if lower.translate(None, _NOT_LEADING):
        line = _UNSPACED.sub(lambda run: f" {' '.join(run[0])} ", line)
    return line.strip()
