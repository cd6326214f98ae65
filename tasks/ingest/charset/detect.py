"""Detects the encoding of bytes: by structure where that is conclusive, else by likelihood.

1. A byte order mark decides. Bytes that begin like a binary file are refused.
2. NUL bytes: UTF-16 or UTF-32, if that is likelier than text with stray NULs (`wide`).
3. Seven-bit encodings are recognised by their escape sequences (`structure`).
4. UTF-8, valid or damaged, is recognised by its multi-byte characters (`utf8`).
5. Otherwise a sample of the bytes above ASCII is read in each candidate encoding. A reading costs
   the bits that its text takes in the language that it fits best (`likelihood`), plus the bits of
   the encoding's rarity (`readings`). All encodings are tried on the beginning of the sample, the
   best six and the declared ones on all of it (`likeliest`).
6. A declared encoding is believed unless another reading saves more than 12 bits plus a tenth of a
   bit per byte above ASCII: declarations are often wrong, but more often right.
7. If even the best reading costs more than 15 bits per character above ASCII, or if there are too
   many control characters, the bytes are not text and are refused.

Example: the bytes of "Привет" in windows-1251 are also valid windows-1252 ("Ïðèâåò"). The first
reading costs 30 bits (frequent Cyrillic letters), the second 91. Over the sentence "Все люди
рождаются свободными и равными в своем достоинстве и правах." it is 336 bits against 922, so
windows-1251 is chosen even if the page declares windows-1252: the 586 bits saved are far
more than 12 + 0.1 x 58.
"""

from __future__ import annotations

import codecs

from tasks.ingest.charset.decoders import decode_as
from tasks.ingest.charset.garbage import has_controls, is_garbled
from tasks.ingest.charset.labels import LABELS, declared_in, encoding_of
from tasks.ingest.charset.likeliest import likeliest
from tasks.ingest.charset.structure import (
    ISO_2022_KR,
    is_binary,
    mark_of,
    seven_bit_encoding,
    with_escapes,
)
from tasks.ingest.charset.utf8 import is_utf8, is_valid_utf8
from tasks.ingest.charset.wide import wide_encoding
from tasks.ingest.raw_documents import Unreadable


def decode(data: bytes, declared: tuple[str | None, ...] = ()) -> str:
    """Decode bytes in their detected encoding (see `encoding`), without a byte order mark.

    NUL bytes between characters are kept; a character cut off at the end is ignored. Raises
    Unreadable("charset").
    """
    name = encoding(data, declared)
    mark = mark_of(data)[1]
    text = decode_in(name, data[mark:] if mark else data, cut_off=True)
    if is_garbled(text):
        raise Unreadable("charset")
    return text


def as_utf8(page: bytes, declared: str | None) -> bytes:
    """`decode` a page, taking the encoding that it declares itself into account, and encode it as
    UTF-8.

    A page that is UTF-8 already is only cut after its last complete character.
    """
    end = _end_of_utf8(page)
    return (
        page[:end]
        if end
        else decode(page, (declared, *declared_in(page))).encode("utf-8", "replace")
    )


def _end_of_utf8(data: bytes) -> int:
    """Length of the complete characters of data that is certainly UTF-8 without a mark; else 0."""
    if b"\0" in data or mark_of(data)[0] or is_binary(data) or seven_bit_encoding(data):
        return 0
    if not is_valid_utf8(data):
        try:
            end = codecs.utf_8_decode(data, "strict", False)[1]
        except UnicodeDecodeError:
            return 0
        data = data[:end]
    return 0 if has_controls(data) or (b"\xef" in data and is_garbled(data.decode())) else len(data)


def encoding(data: bytes, declared: tuple[str | None, ...] = ()) -> str:
    """Detect the encoding of bytes, by the steps in the module's docstring.

    Args:
        declared: labels of the WHATWG standard, most trusted first; unknown ones are ignored.

    Returns:
        A name for `decode_in`. Raises Unreadable("charset") if the bytes are not text.
    """
    marked, _ = mark_of(data)
    if marked:
        return marked
    if is_binary(data):
        raise Unreadable("charset")
    if b"\0" in data:
        if wide := wide_encoding(data):
            return wide
        data = data.replace(b"\0", b"")
    if name := seven_bit_encoding(data):
        if name == "replacement":
            raise Unreadable("charset")
        return name
    if is_utf8(data) and not has_controls(data):
        return "utf-8"
    return likeliest(data, [name for label in declared if label and (name := encoding_of(label))])


def decode_in(name: str, data: bytes, *, cut_off: bool = False) -> str:
    """Decode bytes without a mark in an encoding named by `encoding`; errors become U+FFFD.

    `cut_off`: the bytes may end within a character, which is then omitted.
    """
    if name == "utf-8":
        return codecs.utf_8_decode(data, "replace", not cut_off)[0]
    if name == "iso-2022-jp without escapes":
        return decode_as("iso-2022-jp", with_escapes(data))
    if name == "iso2022_kr" and not data.startswith(ISO_2022_KR):
        data = ISO_2022_KR + data  # a file has it only once, before its first line
    text = decode_as(name, data) if name in LABELS.values() else data.decode(name, "replace")
    return text[:-1] if cut_off and data[-1:] >= b"\x80" and text.endswith("\ufffd") else text
