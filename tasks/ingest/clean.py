"""Normalises text: NFC, line feeds as line ends, no other control characters except tabs.

Words that were separated stay separated: form feeds, vertical tabs, NEL and the separators U+001C
to U+001E become line ends, as in Unicode (UAX 14) and Python's `splitlines`. Soft hyphens are
removed, because they are visible only where a line breaks. Other zero-width characters carry
meaning and are kept: joiners (Persian, Indic scripts, emoji), the zero-width space (separates words
in Khmer and Thai), word joiners, direction marks, variation selectors, tags (flags).
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

# "\n\f" ends one line, not two.
_PAGE_ENDS = re.compile(r"(?:\r\n?|\n)?[\x0b\x0c](?:\r\n?|\n)?")
_LINE_ENDS = re.compile(r"\r\n?|[\x1c-\x1e\x85\u2028\u2029]")
_LINE_END_MARKS = "\r\x1c\x1d\x1e\x85\u2028\u2029"
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_MAX_COMBINING = 30
"""Longest run of combining marks kept, as in Unicode's stream-safe format (UAX 15, section 13).

Normalising takes time quadratic in the length of a run (measured: 10 s for 80,000 marks).
"""

_ASCII_CONTROLS = bytes({*range(0x20), 0x7F} - set(b"\n\t"))
_C1_CONTROL = re.compile(rb"\xc2[\x80-\x9f]")
_INVISIBLE = (b"\xc2\xad", b"\xef\xbb\xbf")
"""The soft hyphen and the byte order mark in UTF-8."""
_LONG_RUN = b"\1" * (_MAX_COMBINING + 1)
_FOREIGN = bytes(byte >= 0x80 for byte in range(256))
_FOREIGN_RUN = b"\1" * (2 * len(_LONG_RUN))
"""Combining marks take two bytes and more of UTF-8."""


def clean(text: str) -> str:
    """`cleaned` without the count."""
    return cleaned(text)[0]


def cleaned(text: str) -> tuple[str, int]:
    """(the text in the form used in documents, number of characters removed).

    Removes control characters (including NUL), soft hyphens, byte order marks, and combining marks
    beyond a run of `_MAX_COMBINING`. Lone surrogates become U+FFFD.
    """
    removed = 0
    if text and not _is_clean(text):
        if "\x0b" in text or "\x0c" in text:
            text = _PAGE_ENDS.sub("\n", text)
        # To look for a few characters takes a hundredth of what a pattern of them takes.
        if any(mark in text for mark in _LINE_END_MARKS):
            text = _LINE_ENDS.sub("\n", text)
        text = text.replace("\x1f", " ")  # the unit separator
        before = len(text)
        text = _without_controls(text)
        if not _is_encodable(text):
            text = _SURROGATES.sub("\ufffd", text)
        if _has_long_run(text):
            text = _combining_runs().sub(lambda run: run[0][:_MAX_COMBINING], text)
        removed = before - len(text)
    return (text if text.isascii() else unicodedata.normalize("NFC", text)), removed


def _is_clean(text: str) -> bool:
    """Whether only NFC is left to do; a hundred times faster than applying the patterns above."""
    try:
        data = text.encode()
    except UnicodeEncodeError:  # a surrogate
        return False
    if len(data.translate(None, _ASCII_CONTROLS)) != len(data):
        return False
    if len(data) == len(text):
        return True
    changed = (
        "\u2028" in text
        or "\u2029" in text
        or "\ufeff" in text
        or "\xad" in text
        or _C1_CONTROL.search(data)
    )
    return not changed and not _has_long_run(text)


def _without_controls(text: str) -> str:
    """The text without control characters but line feeds and tabs. In its bytes they are found ten
    times as fast as among its characters.
    """
    data = text.encode("utf-8", "surrogatepass")
    kept = data.translate(None, _ASCII_CONTROLS)
    for character in _INVISIBLE:
        kept = kept.replace(character, b"")
    if b"\xc2" in kept:
        kept = _C1_CONTROL.sub(b"", kept)
    return text if len(kept) == len(data) else kept.decode("utf-8", "surrogatepass")


def _is_encodable(text: str) -> bool:
    """Whether a text holds no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _has_long_run(text: str) -> bool:
    """Whether more than `_MAX_COMBINING` combining marks follow one another.

    Such a run has twice as many bytes that are not ASCII in a row, which alphabets with spaces do
    not have: that is seen in a twentieth of the time. Looking in a table takes a thousandth of what
    the pattern of all marks takes.
    """
    if _FOREIGN_RUN not in text.encode("utf-8", "surrogatepass").translate(_FOREIGN):
        return False
    points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    return _LONG_RUN in _combining()[points].tobytes()


@cache
def _combining() -> npt.NDArray[np.bool_]:
    """Whether each code point is a combining mark (none from U+20000 on); shape (0x110000,)."""
    table = np.zeros(0x110000, dtype=np.bool_)
    table[0x300:0x20000] = [
        unicodedata.combining(chr(point)) != 0 for point in range(0x300, 0x20000)
    ]
    return table


@cache
def _combining_runs() -> re.Pattern[str]:
    marks = "".join(map(chr, np.flatnonzero(_combining()).tolist()))
    return re.compile(f"[{marks}]{{{_MAX_COMBINING + 1},}}")
