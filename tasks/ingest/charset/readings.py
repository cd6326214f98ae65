"""Reads the same bytes in several encodings and ranks the results by their cost in bits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tasks.ingest.charset.decoders import NOT_SINGLE_BYTE, decode_as, single_byte_table
from tasks.ingest.charset.likelihood import ASCII_BITS, bits, single_byte_bits

RARITY = {
    "windows-1252": 0, "windows-1251": 3, "gb18030": 4, "shift_jis": 4, "euc-jp": 4, "big5": 4,
    "euc-kr": 4, "utf-8": 4,
    "windows-1250": 5, "windows-1254": 4, "windows-1253": 2, "windows-1256": 2, "windows-1255": 2,
    "windows-874": 2,
    "windows-1257": 5, "windows-1258": 6, "koi8-r": 4, "koi8-u": 6, "iso-8859-2": 4,
    "iso-8859-7": 4, "iso-8859-15": 5,
    "iso-8859-5": 8, "iso-8859-6": 8, "ibm866": 8, "macintosh": 10, "x-mac-cyrillic": 8,
}  # fmt: skip
"""The encodings tried without a declaration, with the bits that their rarity costs. Any other
encoding must be declared.
"""

RARE = 12
"""Bits that the rarity of any other encoding costs."""


class Reading(NamedTuple):
    """An encoding, and the bits that a sample costs when read in it."""

    name: str
    bits: float


def ranked_readings(sample: bytes, names: Iterable[str]) -> list[Reading]:
    """Readings of a sample, likeliest first, rarity included; ties keep the order of `names`."""
    readings = [Reading(name, sample_bits(sample, name) + RARITY.get(name, RARE)) for name in names]
    return sorted(readings, key=lambda reading: reading.bits)


def sample_bits(sample: bytes, name: str) -> int:
    """Bits that a sample costs in one encoding, without the encoding's rarity."""
    if name in NOT_SINGLE_BYTE:
        return bits(decode_as(name, sample))
    return single_byte_bits(sample, single_byte_table(name))


def bits_per_letter(sample: bytes, reading: Reading) -> float:
    """Average bits per character above ASCII."""
    text = decode_as(reading.name, sample)
    letters = sum(character > "\x7f" for character in text)
    return (reading.bits - ASCII_BITS * (len(text) - letters)) / max(letters, 1)
