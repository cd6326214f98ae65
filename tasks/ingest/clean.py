"""The one form text has in documents: NFC, line ends as line feeds, no control characters but line feed and tab."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

_LINE_ENDS = re.compile(r"\r\n?|\u2028|\u2029")
_CONTROLS = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\ufeff]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_MAX_COMBINING = 30
"""Longest run of combining marks kept, as in Unicode's stream-safe format (UAX 15, section 13): normalising takes time
quadratic in the run (measured: 80,000 marks, 10 s)."""


def clean(text: str) -> str:
    """Text in the form documents have. Lone surrogates become U+FFFD; a byte order mark counts as control character."""
    text = _CONTROLS.sub("", _LINE_ENDS.sub("\n", text))
    if text.isascii():
        return text
    text = _combining_runs().sub(lambda run: run[0][:_MAX_COMBINING], _SURROGATES.sub("\ufffd", text))
    return unicodedata.normalize("NFC", text)


@cache
def _combining_runs() -> re.Pattern[str]:
    marks = "".join(c for c in map(chr, range(0x300, sys.maxunicode + 1)) if unicodedata.combining(c))
    return re.compile(f"[{marks}]{{{_MAX_COMBINING + 1},}}")
