"""cc_net's text normaliser, on whose output its SentencePiece and KenLM models were trained.

The steps and their order, on a whole document: strip; lower case; canonical decomposition without
non-spacing marks (NFD minus Mn, so Hangul stays decomposed); every decimal digit, of any script, to
"0"; Unicode punctuation to ASCII; characters 0-31 and 127-159 deleted. That includes the newline,
which no space replaces: the words around it are glued, and a document becomes one line. This is
cc_net's behaviour, and its cut-offs depend on it, so it is kept.

The order matters: cc_net's table maps the fullwidth digit one to a quotation mark, but digits are
already "0" by then, so the entry never applies (and is left out of `PUNCTUATION`).
"""

from __future__ import annotations

import functools
import sys
import unicodedata

import numpy as np
import numpy.typing as npt

NORMALISER = "cc_net"
NORMALISER_VERSION = 1
"""Bumped when the output for any text changes; part of every language model's unit."""

PUNCTUATION = {
    "，": ",",
    "。": ".",
    "、": ",",
    "„": '"',
    "”": '"',
    "“": '"',
    "«": '"',
    "»": '"',
    "」": '"',
    "「": '"',
    "《": '"',
    "》": '"',
    "´": "'",
    "∶": ":",
    "：": ":",
    "？": "?",
    "！": "!",
    "（": "(",
    "）": ")",
    "；": ";",
    "–": "-",
    "—": " - ",
    "．": ". ",
    "～": "~",
    "’": "'",
    "…": "...",
    "━": "-",
    "〈": "<",
    "〉": ">",
    "【": "[",
    "】": "]",
    "％": "%",
    "►": "-",
}


CONTROLS = (*range(32), *range(127, 160))
"""Code points that are deleted."""

_ASCII = bytes(range(128))
_ASCII_TABLE = bytes(
    ord("0") if chr(code) in "123456789" else ord(chr(code).lower()) if code < 128 else code
    for code in range(256)
)
_ASCII_CONTROLS = bytes(code for code in CONTROLS if code < 128)
_SPARSE_BYTES = 32
_SPARSE_CHARACTERS = 24
"""A text is changed character by character where less than a 32nd of it is beyond ASCII, of so
many different characters at most.
"""

_EXPANSIONS = {source: target for source, target in PUNCTUATION.items() if len(target) > 1}
_DELETE = -1


@functools.cache
def _table() -> npt.NDArray[np.int32]:
    """Code point -> its replacement after decomposition, or `_DELETE`; 4.5 MB, built in 0.2 s."""
    table = np.arange(sys.maxunicode + 1, dtype=np.int32)
    for code, character in enumerate(map(chr, range(sys.maxunicode + 1))):
        if unicodedata.category(character) == "Mn":
            table[code] = _DELETE
        elif character.isdecimal():
            table[code] = ord("0")
    for source, target in PUNCTUATION.items():
        if len(target) == 1:
            table[ord(source)] = ord(target)
    table[list(CONTROLS)] = _DELETE
    return table


def normalise(text: str) -> str:
    """Return `text` as cc_net's `text_normalizer.normalize` does with its default arguments.

    Three ways to the same string, by how much of a text is beyond ASCII (2.5 KB, one core): if
    nothing, a translation of bytes (2 µs); if little, that and a `replace` for each different
    character (15 µs in English); if much, a table lookup on an array of code points (13 µs in
    Chinese). A lookup per character in Python, as in cc_net, takes 200 µs.
    """
    text = text.strip()
    encoded = text.encode("utf-8", "surrogatepass")
    beyond = len(encoded) - len(text)
    if not beyond:
        return encoded.translate(_ASCII_TABLE, _ASCII_CONTROLS).decode("ascii")
    if _SPARSE_BYTES * beyond < len(text):
        characters = set(encoded.translate(None, _ASCII).decode("utf-8", "surrogatepass"))
        replacements = [_replacement(each) for each in characters]
        if len(characters) <= _SPARSE_CHARACTERS and None not in replacements:
            encoded = encoded.translate(_ASCII_TABLE, _ASCII_CONTROLS)
            for old, new in filter(None, replacements):
                encoded = encoded.replace(old, new)
            return encoded.decode("utf-8", "surrogatepass")
    return _by_code_points(text.lower())


@functools.lru_cache(maxsize=4_096)
def _replacement(character: str) -> tuple[bytes, bytes] | None:
    """UTF-8 of a character beyond ASCII and of what becomes of it; None if that depends on others.

    It does for capital sigma, whose lower case is another one at the end of a word, and for
    marks that stay, which NFD sorts. What a replacement contains is normal, so that replacing its
    characters again changes nothing.
    """
    normal = _by_code_points(character.lower())
    if character == "Σ" or any(map(unicodedata.combining, normal)):
        return None
    return character.encode("utf-8", "surrogatepass"), normal.encode("utf-8", "surrogatepass")


def _by_code_points(lowered: str) -> str:
    """The steps after lower case, on an array of code points."""
    encoded = unicodedata.normalize("NFD", lowered).encode("utf-32-le", "surrogatepass")
    codes = _table().take(np.frombuffer(encoded, dtype="<i4"), mode="wrap")  # none is out of range
    text: str = (
        codes[codes != _DELETE]
        .astype("<i4", copy=False)
        .tobytes()
        .decode("utf-32-le", "surrogatepass")
    )
    for source, target in _EXPANSIONS.items():
        text = text.replace(source, target)
    return text
