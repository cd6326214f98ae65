"""Recognises UTF-16 and UTF-32 without a byte order mark."""

from __future__ import annotations

import math

from tasks.ingest.charset.decoders import decode_as
from tasks.ingest.charset.garbage import is_garbled
from tasks.ingest.charset.likelihood import bits
from tasks.ingest.charset.readings import RARE, RARITY, Reading, ranked_readings, sample_bits
from tasks.ingest.charset.utf8 import is_utf8

WIDE = {"utf-16le": 2, "utf-16be": 2, "utf-32-le": 4, "utf-32-be": 4}
"""Bytes per code unit."""

IMPLAUSIBLE_BITS = 15.0
"""Most bits that a character above ASCII may cost in the best reading.

Measured: 4 to 10 in prose, up to 14.1 in Tang poems, 16 in random bytes.
"""
_SAMPLE_BYTES = 1 << 15
_SAMPLE_WITHOUT_NUL_BYTES = 1 << 12
_MARKUP_WITHIN_BYTES = 1 << 14
_BLOCKS, _ANY_SCRIPT_BITS = 8, 9
_NUL_BITS = 2


def wide_encoding(data: bytes) -> str | None:
    """UTF-16 or UTF-32, if that is likelier than text with stray NUL bytes; else None."""
    sample = data[:_SAMPLE_BYTES]
    narrow = sample.replace(b"\0", b"")
    likeliest = (
        Reading("utf-8", bits(narrow.decode("utf-8", "replace")))
        if is_utf8(narrow)
        else ranked_readings(narrow, RARITY)[0]
    )
    best = Reading(likeliest.name, likeliest.bits + _NUL_BITS * (len(sample) - len(narrow)))
    for name, width in WIDE.items():
        text = sample[: len(sample) // width * width].decode(name, "replace")
        best = min(best, Reading(name, _wide_bits(text)), key=lambda reading: reading.bits)
    return best.name if best.name in WIDE else None


def wide_without_nul(data: bytes, narrow: str) -> str | None:
    """UTF-16 without any ASCII character, if that is likelier than the encoding `narrow`; else
    None.
    """
    sample = data[:_SAMPLE_WITHOUT_NUL_BYTES]
    if len(data) % 2 or b"</" in data[:_MARKUP_WITHIN_BYTES]:  # a tag in ASCII
        return None
    best = Reading("", sample_bits(sample, narrow))
    for name in ("utf-16le", "utf-16be"):
        best = min(
            best,
            Reading(name, _wide_bits(decode_as(name, sample)) + RARE),
            key=lambda reading: reading.bits,
        )
    return best.name or None


def _wide_bits(text: str) -> float:
    """Cost in bits of a text read as UTF-16 or UTF-32; infinite if it is not text.

    Also accepts scripts for which `likelihood` has no language model: text in one script uses only
    a few blocks of 128 code points, whereas a wrong decoding uses many.
    """
    characters = set(text)
    blocks = {ord(character) >> 7 for character in characters}
    if is_garbled(text):
        return math.inf
    if len(blocks) <= min(_BLOCKS, 1 + len(characters) // 5):
        return min(bits(text), _ANY_SCRIPT_BITS * len(text))
    cost = bits(text)
    return cost if cost <= IMPLAUSIBLE_BITS * len(text) else math.inf
