"""Detects the encoding of bytes: certain structure first, then the likeliest reading.

1. A byte order mark decides. Bytes that begin like a binary file are refused.
2. NUL bytes: UTF-16 or UTF-32 if that is likelier than text with NULs in it (`_wide`).
3. Seven-bit encodings show by their escape sequences (`structure.seven_bit_encoding`).
4. Valid or damaged UTF-8 shows by its multi-byte characters (`Utf8Tally.is_utf8`).
5. Else read a sample of the bytes above ASCII in each candidate encoding and compare what the text
   costs in bits, in the language that it fits best (`likelihood`), plus the bits of the encoding's
   rarity (`_RARITY`). All encodings are tried on the sample's beginning, the best six and the
   declared ones on all of it (`_likeliest`).
6. A declared encoding is believed unless another reading saves more than 12 bits and a tenth of a
   bit per byte above ASCII: declarations are often wrong, but more often right.
7. If even the best reading costs more than 15 bits per character above ASCII, or if there are too
   many control characters, the bytes are not text and are refused.

Example: the bytes of "Привет" in windows-1251 are also valid windows-1252 ("Ïðèâåò"). The first
reading costs 30 bits (frequent letters of Russian), the second 91. Over a sentence of 87 characters
it is 450 against 1,136, so windows-1251 is chosen even if the page declares windows-1252.
"""

from __future__ import annotations

import codecs
import math
import re
import struct
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tasks.ingest.charset.decoders import NOT_SINGLE_BYTE, decode_as, single_byte_table
from tasks.ingest.charset.labels import LABELS, declared_in, encoding_of
from tasks.ingest.charset.likelihood import ASCII_BITS, bits, single_byte_bits
from tasks.ingest.charset.structure import (
    ISO_2022_KR,
    is_binary,
    mark_of,
    seven_bit_encoding,
    with_escapes,
)
from tasks.ingest.raw_documents import Unreadable

MAX_REPLACED = 0.02
"""Share of undecodable characters beyond which bytes are not text in any known encoding."""

_RARITY = {
    "windows-1252": 0, "windows-1251": 3, "gb18030": 4, "shift_jis": 4, "euc-jp": 4, "big5": 4,
    "euc-kr": 4, "utf-8": 4,
    "windows-1250": 5, "windows-1254": 4, "windows-1253": 2, "windows-1256": 2, "windows-1255": 2,
    "windows-874": 2,
    "windows-1257": 5, "windows-1258": 6, "koi8-r": 4, "koi8-u": 6, "iso-8859-2": 4,
    "iso-8859-7": 4, "iso-8859-15": 5,
    "iso-8859-5": 8, "iso-8859-6": 8, "ibm866": 8, "macintosh": 10, "x-mac-cyrillic": 8,
}  # fmt: skip
"""Encodings tried even if not declared, and what their rarity costs in bits; others must be
declared.
"""

_RARE = 12

_NEVER_DECLARED = ("utf-16le", "utf-16be", "x-user-defined", "replacement")
"""Ignored as declarations: text in these is recognised by structure. HTML reads the first two as
UTF-8, which was tried before.
"""

WIDE = {"utf-16le": 2, "utf-16be": 2, "utf-32-le": 4, "utf-32-be": 4}
_SAMPLE_BYTES = 1 << 13
_FIRST_BYTES, _SECOND_ROUND = 1 << 11, 6
"""Bytes of the sample on which all encodings are tried, and how many are tried on all of it."""
_LONG = re.compile("[\u0800-\ufffc\U00010000-\U0010ffff]")
_CONTROLS_WITHIN_BYTES = 1 << 13
_DENSE = re.compile(rb"(?:[\x80-\xff]+[\x20-\x7e]{0,6})+")
_PRINTABLE = range(0x20, 0x7F)
_CONTROLS = bytes({*range(0x01, 0x08), *range(0x0E, 0x1B), *range(0x1C, 0x20), 0x7F})
_MARKUP_WITHIN_BYTES = 1 << 14
_TRUST = 12
_TRUST_A_BYTE = 0.1
"""A declaration is overruled by a reading that saves more bits than the sum of the first and of the
second per byte above ASCII.
"""
_IMPLAUSIBLE_BITS = 15.0
"""Most bits that a character above ASCII may cost in the best reading.

Measured: 4 to 10 in prose, up to 14.1 in Tang poems, 16 in random bytes.
"""
_IMPLAUSIBLE_FROM = 30
_PLAIN_BITS, _PLAIN_FROM, _PLAIN_BYTES = 11.5, 40, 1 << 12
"""Shortcut: a declared multi-byte encoding is believed at once if at least _PLAIN_FROM characters
of the first _PLAIN_BYTES cost at most _PLAIN_BITS on average. Right readings of prose cost 7 to
12.6 (95 % below 11.4), wrong ones that decode without an error 12.5 and more. Comparing all
readings takes ten times as long.
"""
_KANA, _JAPANESE = re.compile("[\u3041-\u30ff]"), ("euc-jp", "shift_jis")
"""Chinese and Korean encodings have kana at the same bytes as EUC-JP, so Japanese read in them is
cheap too.
"""
_BLOCKS, _ANY_SCRIPT_BITS = 8, 9
_NUL_BITS = 2


class Reading(NamedTuple):
    """An encoding and the bits that a sample costs in it."""

    name: str
    bits: float


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
    """`decode` a page, which may also declare its encoding itself, and encode it as UTF-8.

    A page that is UTF-8 already is only cut after its last whole character.
    """
    end = _end_of_utf8(page)
    return (
        page[:end]
        if end
        else decode(page, (declared, *declared_in(page))).encode("utf-8", "replace")
    )


def _end_of_utf8(data: bytes) -> int:
    """Length of the whole characters of data that is certainly UTF-8 without a mark; else 0."""
    if b"\0" in data or mark_of(data)[0] or is_binary(data) or seven_bit_encoding(data):
        return 0
    if not is_whole_utf8(data):
        try:
            end = codecs.utf_8_decode(data, "strict", False)[1]
        except UnicodeDecodeError:
            return 0
        data = data[:end]
    return (
        0 if _has_controls(data) or (b"\xef" in data and is_garbled(data.decode())) else len(data)
    )


def is_whole_utf8(data: bytes) -> bool:
    """Whether bytes are valid UTF-8 to the end. Arrow checks them in a quarter of the time that
    decoding takes.
    """
    ends = pa.py_buffer(struct.pack("=2i", 0, len(data)))
    text = pa.Array.from_buffers(pa.string(), 1, [None, ends, pa.py_buffer(data)])
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


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
        if wide := _wide(data):
            return wide
        data = data.replace(b"\0", b"")
    if name := seven_bit_encoding(data):
        if name == "replacement":
            raise Unreadable("charset")
        return name
    if is_utf8(data) and not _has_controls(data):
        return "utf-8"
    return _likeliest(data, [name for label in declared if label and (name := encoding_of(label))])


def decode_in(name: str, data: bytes, *, cut_off: bool = False) -> str:
    """Decode bytes without a mark in an encoding named by `encoding`; errors become U+FFFD.

    `cut_off`: the bytes may end within a character, which is then omitted.
    """
    if name == "utf-8":
        return codecs.utf_8_decode(data, "replace", not cut_off)[0]
    if name == "iso-2022-jp without escapes":
        return decode_as("iso-2022-jp", with_escapes(data))
    if name == "iso2022_kr" and not data.startswith(ISO_2022_KR):
        data = ISO_2022_KR + data  # it stands once, before a file's first line
    text = decode_as(name, data) if name in LABELS.values() else data.decode(name, "replace")
    return text[:-1] if cut_off and data[-1:] >= b"\x80" and text.endswith("\ufffd") else text


def is_garbled(text: str) -> bool:
    """Whether more than `MAX_REPLACED` of a text is U+FFFD."""
    return text.count("\ufffd") > MAX_REPLACED * len(text) + 1


def _has_controls(data: bytes) -> bool:
    """Whether the beginning of bytes has more control characters than text can have."""
    head = data[:_CONTROLS_WITHIN_BYTES]
    return len(head) - len(head.translate(None, _CONTROLS)) > MAX_REPLACED * len(head) + 1


def is_utf8(data: bytes) -> bool:
    """Whether bytes are UTF-8, valid or damaged."""
    try:
        codecs.utf_8_decode(data, "strict", False)
    except UnicodeDecodeError:
        return utf8_tally(data)[0].is_utf8
    return True


class Utf8Tally(NamedTuple):
    """Characters above ASCII in bytes read as UTF-8.

    `valid`: well-formed; `long`: those of three or four bytes; `broken`: malformed.
    """

    valid: int
    long: int
    broken: int

    @property
    def is_utf8(self) -> bool:
        """Whether this is damaged UTF-8, or UTF-8 mixed with text in another encoding.

        Text in another encoding rarely looks like UTF-8, hardly ever like three-byte characters.
        """
        return self.valid >= 3 * self.broken or (self.long >= 10 and 2 * self.long >= self.broken)


def utf8_tally(data: bytes) -> tuple[Utf8Tally, int]:
    """(tally of bytes, their length without a character cut off at the end)."""
    text, end = codecs.utf_8_decode(data, "replace", False)
    broken = text.count("\ufffd") - data.count(b"\xef\xbf\xbd")
    ascii_bytes = len(data) - len(_above_ascii(data))
    long = len(_LONG.findall(text)) if broken else 0
    return Utf8Tally(len(text) - ascii_bytes - broken, long, broken), end


def _above_ascii(data: bytes) -> bytes:
    return data.translate(None, bytes(range(0x80)))


def _wide(data: bytes) -> str | None:
    """UTF-16 or UTF-32, if that is likelier than text with NUL bytes in between; else None."""
    sample = data[: 4 * _SAMPLE_BYTES]
    narrow = sample.replace(b"\0", b"")
    likeliest = (
        Reading("utf-8", bits(narrow.decode("utf-8", "replace")))
        if is_utf8(narrow)
        else _readings(narrow, _RARITY)[0]
    )
    best = Reading(likeliest.name, likeliest.bits + _NUL_BITS * (len(sample) - len(narrow)))
    for name, width in WIDE.items():
        text = sample[: len(sample) // width * width].decode(name, "replace")
        best = min(best, Reading(name, _wide_bits(text)), key=lambda reading: reading.bits)
    return best.name if best.name in WIDE else None


def _wide_bits(text: str) -> float:
    """Cost in bits of a text read as UTF-16 or UTF-32; infinite if it is not text.

    It may be in a script for which `likelihood` knows no language. Text in one script uses few
    blocks of 128 code points, which wrong readings do not.
    """
    characters = set(text)
    blocks = {ord(character) >> 7 for character in characters}
    if is_garbled(text):
        return math.inf
    if len(blocks) <= min(_BLOCKS, 1 + len(characters) // 5):
        return min(bits(text), _ANY_SCRIPT_BITS * len(text))
    price = bits(text)
    return price if price <= _IMPLAUSIBLE_BITS * len(text) else math.inf


def _likeliest(data: bytes, declared: list[str]) -> str:
    sample = _dense_sample(data)
    above = len(_above_ascii(sample))
    trusted = [name for name in declared if name not in _NEVER_DECLARED]
    if trusted and _is_plain(sample[:_PLAIN_BYTES], trusted[0]) and not _has_controls(data):
        return trusted[0]
    names = [reading.name for reading in _readings(sample[:_FIRST_BYTES], _RARITY)[:_SECOND_ROUND]]
    found = _readings(sample, dict.fromkeys([*names, *trusted]))
    best = found[0]
    for name in trusted:
        reading = next(reading for reading in found if reading.name == name)
        gain = reading.bits - _RARITY.get(name, _RARE) - best.bits
        if name != "utf-8" and gain <= _TRUST + _TRUST_A_BYTE * above:
            best = reading
            break
    if wide := _wide_without_nul(data, best.name):
        return wide
    if _has_controls(data) or (
        above >= _IMPLAUSIBLE_FROM and _price_of_letters(sample, best) > _IMPLAUSIBLE_BITS
    ):
        raise Unreadable("charset")
    return best.name


def _dense_sample(data: bytes) -> bytes:
    """The places where characters above ASCII stand, each with the character before it: an accent
    at the end of a word is told by that alone.
    """
    head = np.frombuffer(data[: 64 * _SAMPLE_BYTES], np.uint8)
    places: list[bytes] = []
    size = end = 0
    for start in np.flatnonzero(head > 0x7F).tolist():  # a pattern would try every byte
        if start < end:
            continue
        with_letter = start > end and data[start - 1] in _PRINTABLE
        run = _DENSE.match(data, start, len(head))
        end = run.end() if run else start + 1
        places.append(data[start - with_letter : end])
        size += len(places[-1]) + 1
        if size > _SAMPLE_BYTES:
            break
    return b" ".join(places)[:_SAMPLE_BYTES]


def _is_plain(sample: bytes, name: str) -> bool:
    """Whether a sample is certainly prose in a declared multi-byte encoding (the shortcut)."""
    if name not in NOT_SINGLE_BYTE or name == "utf-8":
        return False
    text = decode_as(name, sample)
    letters = sum(character > "\x7f" for character in text)
    if (
        letters < _PLAIN_FROM
        or "\ufffd" in text[:-1]
        or (name not in _JAPANESE and _KANA.search(text))
    ):
        return False
    return _price_of_letters(sample, Reading(name, bits(text))) <= _PLAIN_BITS


def _price_of_letters(sample: bytes, reading: Reading) -> float:
    """Average bits per character above ASCII."""
    text = decode_as(reading.name, sample)
    letters = sum(character > "\x7f" for character in text)
    return (reading.bits - ASCII_BITS * (len(text) - letters)) / max(letters, 1)


def _wide_without_nul(data: bytes, narrow: str) -> str | None:
    """UTF-16 without any ASCII character, if that is likelier than `narrow`; else None."""
    sample = data[: 2 * _FIRST_BYTES]
    if len(data) % 2 or b"</" in data[:_MARKUP_WITHIN_BYTES]:  # a tag in ASCII
        return None
    best = Reading("", _bits(sample, narrow))
    for name in ("utf-16le", "utf-16be"):
        best = min(
            best,
            Reading(name, _wide_bits(decode_as(name, sample)) + _RARE),
            key=lambda reading: reading.bits,
        )
    return best.name or None


def _readings(sample: bytes, names: Iterable[str]) -> list[Reading]:
    """Readings of a sample, likeliest first; ties keep the order of `names`."""
    readings = [Reading(name, _bits(sample, name) + _RARITY.get(name, _RARE)) for name in names]
    return sorted(readings, key=lambda reading: reading.bits)


def _bits(sample: bytes, name: str) -> int:
    if name in NOT_SINGLE_BYTE:
        return bits(decode_as(name, sample))
    return single_byte_bits(sample, single_byte_table(name))
