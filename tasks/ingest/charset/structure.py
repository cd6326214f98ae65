"""Recognises what has structure: byte order marks, seven-bit escapes, and binary files."""

from __future__ import annotations

import codecs
import re

from tasks.ingest.charset.iso2022 import PLAUSIBLE_BITS, decode_iso2022_jp, looks_iso2022_jp
from tasks.ingest.charset.likelihood import bits

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16le"),
    (codecs.BOM_UTF16_BE, "utf-16be"),
)
_NEVER_TEXT = (
    b"%PDF-", b"%!PS-Adobe", b"{\\rtf", b"\x1f\x8b", b"\x89PNG\r\n", b"\xff\xd8\xff", b"\x7fELF",
    b"\xd0\xcf\x11\xe0",
)  # fmt: skip
_SELDOM_TEXT = (
    b"GIF87a", b"GIF89a", b"PK\3\4", b"RIFF", b"II*\0", b"MM\0*", b"Rar!\x1a",
    b"7z\xbc\xaf\x27\x1c", b"BZh",
    b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\xca\xfe\xba\xbe", b"OggS", b"ID3", b"\0\0\1\0", b"wOFF",
    b"wOF2",
    b"PAR1", b"SQLite format 3\0", b"\0asm",
)  # fmt: skip
"""First bytes of binary files that are sent or named as text. Real text may begin like the second
group; a binary file has control characters after it.
"""
_BINARY_CONTROL = re.compile(rb"[\0-\x07\x0e-\x1a]")
_BINARY_WITHIN_BYTES = 512

ISO_2022_KR = b"\x1b$)C"
"""Designates Korean for the bytes between SO and SI; occurs once, at the beginning of a text."""
_HZ = re.compile(rb"~\{((?:[\x21-\x77][\x21-\x7e])+)~\}")
_ESCAPES_LOST = re.compile(rb"(?<!\x1b)(\$[@B])((?:[\x21-\x7e][\x21-\x7e]){1,200}?)(\([BJ])")
_WITHIN_BYTES = 1 << 16
_MIN_CHARACTERS = 4
_HZ_BITS = 13
"""Most bits per character between ~{ and ~}: Chinese prose costs 10 to 12, ASCII misread as Chinese
16.
"""


def mark_of(data: bytes) -> tuple[str | None, int]:
    """The encoding that a byte order mark names, and the mark's length."""
    for mark, name in MARKS:
        if data.startswith(mark) and (not name.startswith("utf-32") or len(data) % 4 == 0):
            return name, len(mark)
    return None, 0


def is_binary(data: bytes) -> bool:
    """Whether bytes begin like a binary file."""
    if data.startswith(_SELDOM_TEXT):
        return _BINARY_CONTROL.search(data, 0, _BINARY_WITHIN_BYTES) is not None
    return data.startswith(_NEVER_TEXT)


def seven_bit_encoding(data: bytes) -> str | None:
    """The encoding of bytes that represent other characters by ASCII bytes, if they do.

    "replacement" stands for one that is recognised but not supported. "hz" and "iso2022_kr" are
    Python's codecs: the standard refuses both for browser security, but pages in them are
    recognised with certainty. "iso-2022-jp without escapes" has lost its ESC bytes, as often
    happens to text pasted into forms.
    """
    if b"\x1b" in data:
        if looks_iso2022_jp(data):
            return "iso-2022-jp"
        if ISO_2022_KR in data and b"\x0e" in data:
            return "iso2022_kr"
        if b"\x1b$)A" in data or b"\x1b$)G" in data:
            return "replacement"
    if not data.isascii():
        return None
    if b"~{" in data and _plausible(
        "".join(_hz_run(run) for run in _HZ.findall(data, 0, _WITHIN_BYTES)), _HZ_BITS
    ):
        return "hz"
    runs = _ESCAPES_LOST.findall(data, 0, _WITHIN_BYTES) if b"$B" in data or b"$@" in data else []
    if _plausible("".join(decode_iso2022_jp(b"\x1b$B" + run) for _, run, _ in runs)):
        return "iso-2022-jp without escapes"
    return None


def with_escapes(data: bytes) -> bytes:
    """Restore the lost ESC bytes of ISO-2022-JP."""
    return _ESCAPES_LOST.sub(lambda match: b"\x1b" + match[1] + match[2] + b"\x1b" + match[3], data)


def _hz_run(run: bytes) -> str:
    return bytes(byte | 0x80 for byte in run).decode("gb2312", "replace")


def _plausible(text: str, bits_per_character: float = PLAUSIBLE_BITS) -> bool:
    return len(text) >= _MIN_CHARACTERS and bits(text) <= bits_per_character * len(text)
