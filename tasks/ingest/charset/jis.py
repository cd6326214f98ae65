"""The Japanese character sets JIS X 0208 (with NEC's row 13 and IBM's additions) and JIS X 0212 as
pairs of bytes.
"""

from __future__ import annotations

from functools import cache

_ROW = 94
HALFWIDTH_KATAKANA = {byte: chr(0xFF61 - 0x21 + byte) for byte in range(0x21, 0x60)}
"""By its seven-bit byte; 0x80 more in the eight-bit encodings."""


@cache
def jis0208() -> dict[bytes, str]:
    """Characters by a pair of bytes from 0x21 to 0x7E. The standard's index has what windows-31j
    (cp932) has.
    """
    characters: dict[bytes, str] = {}
    for row in range(_ROW):
        lead = row // 2 + (0x81 if row < 62 else 0xC1)
        for cell in range(_ROW):
            trail = row % 2 * _ROW + cell
            character = _character(bytes((lead, trail + (0x40 if trail < 0x3F else 0x41))), "cp932")
            if character:
                characters[bytes((row + 0x21, cell + 0x21))] = character
    return characters


@cache
def jis0212() -> dict[bytes, str]:
    """The same for JIS X 0212, as EUC-JP has it behind 0x8F."""
    characters: dict[bytes, str] = {}
    for row in range(_ROW):
        for cell in range(_ROW):
            character = _character(bytes((0x8F, row + 0xA1, cell + 0xA1)), "euc_jp")
            if character:
                characters[bytes((row + 0x21, cell + 0x21))] = character
    characters[b"\x22\x37"] = "～"  # Python: an ASCII tilde
    return characters


def _character(data: bytes, codec: str) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return ""
