"""The Japanese character sets JIS X 0208 (with NEC's row 13 and IBM's extensions) and JIS X 0212,
by byte pair.
"""

from __future__ import annotations

from functools import cache

_ROW = 94
HALFWIDTH_KATAKANA = {byte: chr(0xFF61 - 0x21 + byte) for byte in range(0x21, 0x60)}
"""Seven-bit byte -> character; eight-bit encodings add 0x80 to the byte."""


@cache
def jis0208() -> dict[bytes, str]:
    """Pair of bytes from 0x21 to 0x7E -> character. The standard's index equals that of windows-31j
    (cp932).
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
    """The same for JIS X 0212, which EUC-JP has after the byte 0x8F."""
    characters: dict[bytes, str] = {}
    for row in range(_ROW):
        for cell in range(_ROW):
            character = _character(bytes((0x8F, row + 0xA1, cell + 0xA1)), "euc_jp")
            if character:
                characters[bytes((row + 0x21, cell + 0x21))] = character
    characters[b"\x22\x37"] = "～"  # an ASCII tilde in Python's codec
    return characters


def _character(data: bytes, codec: str) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return ""
