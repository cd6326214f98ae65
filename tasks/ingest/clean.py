"""The one form text has in documents: NFC, line ends as line feeds, no control characters but line
feed and tab.

What parts words in the original parts them here: form feeds, vertical tabs, NEL and the separators
U+001C to U+001E end a line as they do in Unicode (UAX 14) and in Python's `splitlines`. Soft
hyphens go, as they show only where a line is broken. Other characters without width mean something
and stay: joiners (Persian, Indic scripts, emoji), the zero-width space (it parts words in Khmer and
Thai), word joiners, marks of direction, variation selectors, tags (flags).
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

_PAGE_ENDS = re.compile(
    r"(?:\r\n?|\n)?[\x0b\x0c](?:\r\n?|\n)?"
)  # "\n\f" is the end of one line, not of two
_LINE_ENDS = re.compile(r"\r\n?|[\x1c-\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile(r"[\0-\x08\x0b-\x1e\x7f-\x9f\xad\ufeff]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_MAX_COMBINING = 30
"""Longest run of combining marks kept, as in Unicode's stream-safe format (UAX 15, section 13):
normalising takes time quadratic in the run (measured: 80,000 marks, 10 s).
"""

_ASCII_CONTROLS = bytes({*range(0x20), 0x7F} - set(b"\n\t"))
_C1_CONTROL = re.compile(rb"\xc2[\x80-\x9f]")
_LONG_RUN = b"\1" * (_MAX_COMBINING + 1)


def clean(text: str) -> str:
    """Text in the form documents have. Lone surrogates become U+FFFD; byte order marks and soft
    hyphens go.
    """
    return cleaned(text)[0]


def cleaned(text: str) -> tuple[str, int]:
    """Text in the form documents have, and how many characters that took away: controls (NUL too),
    soft hyphens, byte order marks, combining marks beyond a run of `_MAX_COMBINING`.
    """
    removed = 0
    if text and not _is_clean(text):
        text = _LINE_ENDS.sub("\n", _PAGE_ENDS.sub("\n", text)).replace(
            "\x1f", " "
        )  # the unit separator
        before = len(text)
        text = _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))
        text = _combining_runs().sub(lambda run: run[0][:_MAX_COMBINING], text)
        removed = before - len(text)
    return (text if text.isascii() else unicodedata.normalize("NFC", text)), removed


def _is_clean(text: str) -> bool:
    """Whether nothing but NFC is left to do; looks through bytes a hundred times as fast as the
    patterns above do.
    """
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
    return (
        not changed
        and _LONG_RUN not in _combining()[np.frombuffer(text.encode("utf-32-le"), "<u4")].tobytes()
    )


@cache
def _combining() -> npt.NDArray[np.bool_]:
    """By code point: does it combine? (Those from U+20000 on are ideographs, tags and for private
    use.)
    """
    table = np.zeros(0x110000, dtype=np.bool_)
    table[0x300:0x20000] = [
        unicodedata.combining(chr(point)) != 0 for point in range(0x300, 0x20000)
    ]
    return table


@cache
def _combining_runs() -> re.Pattern[str]:
    marks = "".join(map(chr, np.flatnonzero(_combining()).tolist()))
    return re.compile(f"[{marks}]{{{_MAX_COMBINING + 1},}}")
