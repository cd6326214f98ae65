"""Digits and signs of other scripts as ASCII, so that a phone number is found as it is written."""

from __future__ import annotations

import re

_ZEROS = "\uff10\u0660\u06f0\u0966"
"""Zero in full width, in Arabic, in Persian and Urdu, and in Devanagari; one to nine follow it."""
_DIGITS = "".join(f"{zero}-{chr(ord(zero) + 9)}" for zero in _ZEROS)
_TABLE = {ord(zero) + digit: str(digit) for zero in _ZEROS for digit in range(10)} | str.maketrans(
    "\uff0b\uff08\uff09\uff0d\u2212\uff0e\uff0f\u3000", "+()--./ "
)
_ANY = re.compile(rf"[{_DIGITS}]{{2}}|[0-9][\uff08\uff09\uff0d\u2212][0-9]|[\uff08\uff0b][0-9]")


def in_ascii(text: str) -> str:
    """The text, of the same length, with such digits, and the signs between them, in ASCII."""
    if text.isascii() or _ANY.search(text) is None:
        return text
    return text.translate(_TABLE)
