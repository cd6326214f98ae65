"""ISO-2022-JP as the WHATWG Encoding Standard has it (section 12.2), and what Japanese pages and
mail have beside it.

Beside the standard's: JIS X 0212 (ESC $ ( D), half-width katakana between SO and SI or with the
eighth bit set, and a line end, which ends a run of two-byte characters whose escape sequence back
to ASCII was lost. Where an insertion has switched back to ASCII in the middle of Japanese, what
follows is read as Japanese if it is likely to be that.
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
"""What text found in seven-bit bytes may cost a character; ASCII read as if it were Chinese or
Japanese costs 16.
"""
_STRUCTURE = re.compile(rb"\x1b(?:\$[@B](?:[\x21-\x7e]{2})+|\([IJ]|\$\(D)")


def looks_iso2022_jp(data: bytes) -> bool:
    """Whether bytes hold an escape sequence of ISO-2022-JP; they are hardly ever anything else
    then.
    """
    return _STRUCTURE.search(data) is not None


def decode_iso2022_jp(data: bytes) -> str:
    """Bytes to text; what is no character in ISO-2022-JP becomes U+FFFD."""
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
    """ASCII, or Japanese without the escape before it, whole or without the first byte of its first
    character.
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
    """What the bytes stand for in ASCII ("B"), JIS X 0201 Roman ("J") and katakana ("I")."""
    table = dict.fromkeys((27, *range(128, 256)), "�")
    table |= {byte + 0x80: character for byte, character in HALFWIDTH_KATAKANA.items()}
    if state == "I":
        table |= dict.fromkeys(range(33, 127), "�") | HALFWIDTH_KATAKANA
    if state == "J":
        table |= {0x5C: "¥", 0x7E: "‾"}
    return table
