"""Decodes ISO-2022-JP: the WHATWG Encoding Standard (section 12.2), and what Japanese pages and
mail use beyond it.

Extensions: JIS X 0212 (ESC $ ( D); half-width katakana between SO and SI or with the eighth bit
set; and a line end also ends a run of two-byte characters, in case the escape sequence back to
ASCII was lost. Where inserted text has switched back to ASCII in the middle of Japanese, the bytes
after it are read as Japanese if that is plausible.
"""

from __future__ import annotations

import re
from functools import cache

from tasks.ingest.charset.jis import HALFWIDTH_KATAKANA, jis0208, jis0212
from tasks.ingest.charset.likelihood import bits

_SWITCH = re.compile(rb"(\x1b(?:\([BJI]|\$[@B]|\$\(D)|[\x0e\x0f]|[\r\n]+)")
_DOUBLE = re.compile(rb"[\x21-\x7e][\x21-\x7e]|[\0-\xff]", re.DOTALL)
_WORD = re.compile(rb"[\x21-\x7e]+")
_MIN_CHARACTERS = 4
PLAUSIBLE_BITS = 10.5
"""Most bits per character of text found in seven-bit bytes; ASCII misread as Chinese or Japanese
costs 16.
"""
_STRUCTURE = re.compile(rb"\x1b(?:\$[@B](?:[\x21-\x7e]{2})+|\([IJ]|\$\(D)")


def looks_iso2022_jp(data: bytes) -> bool:
    """Whether bytes hold an escape sequence of ISO-2022-JP, which almost nothing else does."""
    return _STRUCTURE.search(data) is not None


def decode_iso2022_jp(data: bytes) -> str:
    """Decode ISO-2022-JP; invalid bytes become U+FFFD."""
    text: list[str] = []
    state = outside = "B"
    for index, part in enumerate(_SWITCH.split(data)):
        if index % 2 == 0:
            interrupted = index > 0 and state == "B" and len(part) >= 2 * _MIN_CHARACTERS
            text.append(_interrupted(part) if interrupted else _run(part, state))
        elif part == b"\x0e":
            outside, state = (outside if state == "I" else state), "I"
        elif part == b"\x0f":
            state = outside
        elif part[0] != 0x1B:
            text.append(part.decode("ascii"))
            state = outside = "B" if state in "@D" else state
        else:
            final = chr(part[-1])
            state = outside = "D" if part == b"\x1b$(D" else "@" if part[1:2] == b"$" else final
    return "".join(text)


def _interrupted(part: bytes) -> str:
    """Decode a part that follows a switch to ASCII: as Japanese if that is plausible, starting at
    its first or second byte (half a character may have been lost), else as ASCII.
    """
    word = _WORD.match(part)
    end = word.end() if word else 0
    for start in (end % 2, 1 - end % 2):
        stop = end - (end - start) % 2
        japanese = _run(part[start:stop], "@")
        if len(japanese) >= _MIN_CHARACTERS and bits(japanese) <= PLAUSIBLE_BITS * len(japanese):
            return "\ufffd" * start + japanese + _run(part[stop:], "B")
    return _run(part, "B")


def _run(part: bytes, state: str) -> str:
    if state in "@D":
        characters = jis0208() if state == "@" else jis0212()
        return "".join(characters.get(token) or _other(token) for token in _DOUBLE.findall(part))
    return part.decode("latin-1").translate(_single(state))


def _other(token: bytes) -> str:
    return " " if token == b" " else "\t" if token == b"\t" else "\ufffd"


@cache
def _single(state: str) -> dict[int, str]:
    """Translation table from Latin-1 for ASCII ("B"), JIS X 0201 Roman ("J") or katakana ("I")."""
    table = dict.fromkeys((27, *range(128, 256)), "�")
    table |= {byte + 0x80: character for byte, character in HALFWIDTH_KATAKANA.items()}
    if state == "I":
        table |= dict.fromkeys(range(33, 127), "�") | HALFWIDTH_KATAKANA
    if state == "J":
        table |= {0x5C: "¥", 0x7E: "‾"}
    return table
