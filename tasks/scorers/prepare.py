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
_UNSPACED = re.compile(f"[{UNSPACED_CLASS}]")


def prepare(text: str, preparation: Preparation, max_characters: int) -> str:
    """The line of a text, without its closing newline; "" for one without words."""
    line = text[:max_characters].replace("\n", " ")
    if preparation == "plain":
        return line.strip()
    line = line.lower()
    for mark in _MARKS:
        line = line.replace(mark, " ")
    if not line.isascii():
        line = _UNSPACED.sub(r" \g<0> ", line)
    return line.strip()
