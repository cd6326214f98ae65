"""What a model sees of a text.

Scores of differently prepared text are not comparable, so this is a parameter of the stage, and
belongs to the model:

- `none`, for lid.176, GlotLID and NLLB: the first MAX_CHARACTERS characters, newlines replaced by
  spaces, outer whitespace stripped, case kept.
- `openlid`, for OpenLID-v3, as its model card says: after that, lower case; runs of whitespace
  become one space; then only letters, marks, connecting punctuation and spaces stay, no digits.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from typing import Literal

import numpy as np
import numpy.typing as npt

Preprocessing = Literal["none", "openlid"]

MAX_CHARACTERS = 10_000
"""Characters of a document that the model sees.

Far more than it takes to settle a label; bounds the time spent on giant pages.
"""

_SPACES = re.compile(r"[^\S\x1c-\x1f]{2,}")  # as `\s` of the package regex
_STAY = frozenset(("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nl", "Pc", "Zs"))
_LETTERS_ELSEWHERE = (*range(0x24B6, 0x24EA), *range(0x1F130, 0x1F14A), *range(0x1F150, 0x1F16A))
_LETTERS_ELSEWHERE += (*range(0x1F170, 0x1F18A), 0x200C, 0x200D)
"""Circled and squared letters, which Unicode calls alphabetic symbols, and the joiners in words."""


def prepare(text: str, preprocessing: Preprocessing = "none") -> str:
    """The line that the model classifies, without its closing newline."""
    line = text[:MAX_CHARACTERS].replace("\n", " ").strip()
    return line if preprocessing == "none" else _words(_SPACES.sub(" ", line.lower())).strip()


def _words(line: str) -> str:
    encoded = line.encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(encoded, "<i4")
    kept: str = codes[_stays()[codes]].tobytes().decode("utf-32-le", "surrogatepass")
    return kept


@functools.cache
def _stays() -> npt.NDArray[np.bool_]:
    """Code point -> whether it stays."""
    table = np.fromiter(
        (unicodedata.category(chr(code)) in _STAY for code in range(sys.maxunicode + 1)), np.bool_
    )
    table[list(_LETTERS_ELSEWHERE)] = True
    return table
