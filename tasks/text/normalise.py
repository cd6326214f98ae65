"""cc_net's text normaliser, on whose output its SentencePiece and KenLM models were trained.

The steps and their order, on a whole document: strip; lower case; canonical decomposition without
non-spacing marks (NFD minus Mn, so Hangul stays decomposed); every decimal digit, of any script, to
"0"; Unicode punctuation to ASCII; characters 0-31 and 127-159 deleted. That includes the newline,
which no space replaces: the words around it are glued, and a document becomes one line. This is
cc_net's behaviour, and its cut-offs depend on it, so it is kept.

The order matters: cc_net's table maps the fullwidth digit one to a quotation mark, but digits are
already "0" by then, so the entry never applies (and is left out of `PUNCTUATION`).

Models on the hub were trained with cc_net's code and some steps left out (`Steps`): edugp/kenlm's
keep case and accents. Without the step for digits, that entry does apply.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from dataclasses import dataclass, fields
from itertools import product

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


@dataclass(frozen=True)
class Steps:
    """The steps that cc_net's `normalize` takes or leaves out; by default all.

    lower_case: its argument `case`; strip_accents: `accent`, NFD without non-spacing marks;
    zero_digits: `numbers`.
    """

    lower_case: bool = True
    strip_accents: bool = True
    zero_digits: bool = True

    def __str__(self) -> str:
        """Name and version of the normaliser, and the steps left out: part of a unit."""
        left_out = [field.name for field in fields(self) if not getattr(self, field.name)]
        return "-".join([f"{NORMALISER}/{NORMALISER_VERSION}", *left_out])

    @classmethod
    def parse(cls, name: str) -> Steps:
        """The steps of a name; `ValueError` for another normaliser's, or another version's."""
        known = {str(cls(*taken)): cls(*taken) for taken in product((True, False), repeat=3)}
        if name not in known:
            raise ValueError(f"{name!r} is not one of {', '.join(known)}")
        return known[name]


CC_NET = Steps()

_ASCII = bytes(range(128))
_ASCII_CONTROLS = bytes(code for code in CONTROLS if code < 128)
_SPARSE_BYTES = 32
_SPARSE_CHARACTERS = 24
"""A text is changed character by character where less than a 32nd of it is beyond ASCII, of so
many different characters at most.
"""

_EXPANSIONS = {source: target for source, target in PUNCTUATION.items() if len(target) > 1}
_DELETE = -1


@functools.cache
def _ascii_table(steps: Steps) -> bytes:
    """Byte -> its replacement; those beyond ASCII stay."""
    table = bytearray(range(256))
    for code, character in enumerate(map(chr, _ASCII)):
        if steps.zero_digits and character.isdigit():
            table[code] = ord("0")
        elif steps.lower_case:
            table[code] = ord(character.lower())
    return bytes(table)


@functools.cache
def _marks_and_digits() -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Code point -> whether it is a non-spacing mark, and whether a decimal digit; takes 0.2 s."""
    characters = [chr(code) for code in range(sys.maxunicode + 1)]
    marks = np.array([unicodedata.category(character) == "Mn" for character in characters])
    return marks, np.array([character.isdecimal() for character in characters])


@functools.cache
def _table(steps: Steps) -> npt.NDArray[np.int32]:
    """Code point -> its replacement after decomposition, or `_DELETE`; 4.5 MB."""
    table = np.arange(sys.maxunicode + 1, dtype=np.int32)
    marks, digits = _marks_and_digits()
    if steps.strip_accents:
        table[marks] = _DELETE
    if steps.zero_digits:
        table[digits] = ord("0")
    punctuation = PUNCTUATION if steps.zero_digits else PUNCTUATION | {"１": '"'}
    for source, target in punctuation.items():
        if len(target) == 1:
            table[ord(source)] = ord(target)
    table[list(CONTROLS)] = _DELETE
    return table


def normalise(text: str, steps: Steps = CC_NET) -> str:
    """Return `text` as cc_net's `text_normalizer.normalize` does, by default with its defaults.

    Three ways to the same string, by how much of a text is beyond ASCII (2.5 KB, one core): if
    nothing, a translation of bytes (2 µs); if little, that and a `replace` for each different
    character (15 µs in English); if much, a table lookup on an array of code points (13 µs in
    Chinese). A lookup per character in Python, as in cc_net, takes 200 µs.
    """
    text = text.strip()
    encoded = text.encode("utf-8", "surrogatepass")
    beyond = len(encoded) - len(text)
    if not beyond:
        return encoded.translate(_ascii_table(steps), _ASCII_CONTROLS).decode("ascii")
    if _SPARSE_BYTES * beyond < len(text):
        characters = set(encoded.translate(None, _ASCII).decode("utf-8", "surrogatepass"))
        replacements = [_replacement(each, steps) for each in characters]
        if len(characters) <= _SPARSE_CHARACTERS and None not in replacements:
            encoded = encoded.translate(_ascii_table(steps), _ASCII_CONTROLS)
            for old, new in filter(None, replacements):
                encoded = encoded.replace(old, new)
            return encoded.decode("utf-8", "surrogatepass")
    return _by_code_points(text, steps)


@functools.lru_cache(maxsize=4_096)
def _replacement(character: str, steps: Steps = CC_NET) -> tuple[bytes, bytes] | None:
    """UTF-8 of a character beyond ASCII and of what becomes of it; None if that depends on others.

    It does for capital sigma, whose lower case is another one at the end of a word, and for
    marks that stay, which NFD sorts. What a replacement contains is normal, so that replacing its
    characters again changes nothing.
    """
    normal = _by_code_points(character, steps)
    if character == "Σ" or any(map(unicodedata.combining, normal)):
        return None
    return character.encode("utf-8", "surrogatepass"), normal.encode("utf-8", "surrogatepass")


def _by_code_points(text: str, steps: Steps = CC_NET) -> str:
    """All steps but the first, most of them on an array of code points."""
    if steps.lower_case:
        text = text.lower()
    if steps.strip_accents:
        text = unicodedata.normalize("NFD", text)
    encoded = text.encode("utf-32-le", "surrogatepass")
    codes = _table(steps).take(
        np.frombuffer(encoded, dtype="<i4"), mode="wrap"
    )  # none is out of range
    normal: str = (
        codes[codes != _DELETE]
        .astype("<i4", copy=False)
        .tobytes()
        .decode("utf-32-le", "surrogatepass")
    )
    for source, target in _EXPANSIONS.items():
        normal = normal.replace(source, target)
    return normal
