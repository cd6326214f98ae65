"""Every label and every index pointer of the WHATWG Encoding Standard, against the standard's own
tables.

`whatwg-encoding.json.xz` holds `indexes.json` and `encodings.json` of github.com/whatwg/encoding at
commit a985b62, unchanged: Copyright WHATWG (Apple, Google, Mozilla, Microsoft), CC BY 4.0,
creativecommons.org/licenses/by/4.0.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.ingest.charset.decoders import decode_as
from tasks.ingest.charset.labels import encoding_of

STANDARD: dict[str, Any] = json.loads(
    lzma.decompress(Path(__file__).with_name("whatwg-encoding.json.xz").read_bytes())
)
INDEXES: dict[str, list[int | None]] = STANDARD["indexes"]
ENCODINGS = [encoding for group in STANDARD["encodings"] for encoding in group["encodings"]]
SINGLE_BYTE = next(
    g["encodings"] for g in STANDARD["encodings"] if g["heading"] == "Legacy single-byte encodings"
)


def test_every_label() -> None:
    labels = [
        (label, encoding["name"].lower()) for encoding in ENCODINGS for label in encoding["labels"]
    ]
    assert len(labels) == 228
    for label, name in labels:
        assert encoding_of(label) == encoding_of(f"\t {label.upper()}\r\n") == name
    assert [
        encoding_of(label) for label in ("", "utf-7", "latin-9", "utf\u212a8", "\xa0utf-8")
    ] == [None] * 5


def test_every_encoding_decodes_ascii() -> None:
    for name in {encoding["name"].lower() for encoding in ENCODINGS} - {
        "utf-16le",
        "utf-16be",
        "replacement",
    }:
        assert decode_as(name, b'<a href="x">~1</a>\n') == '<a href="x">~1</a>\n', name
    assert decode_as("replacement", b"abc") == "\ufffd"
    with pytest.raises(KeyError):
        decode_as("latin-1", b"")


@pytest.mark.parametrize("name", [encoding["name"].lower() for encoding in SINGLE_BYTE])
def test_every_byte_of_a_single_byte_encoding(name: str) -> None:
    index = INDEXES["iso-8859-8" if name == "iso-8859-8-i" else name]
    assert decode_as(name, bytes(range(128, 256))) == "".join(
        "\ufffd" if c is None else chr(c) for c in index
    )


def test_x_user_defined() -> None:
    assert decode_as("x-user-defined", bytes(range(256))) == "".join(
        map(chr, [*range(128), *range(0xF780, 0xF800)])
    )


def _big5(pointer: int) -> bytes:
    lead, trail = divmod(pointer, 157)
    return bytes((lead + 0x81, trail + (0x40 if trail < 0x3F else 0x62)))


def _shift_jis(pointer: int) -> bytes:
    lead, trail = divmod(pointer, 188)
    return bytes((lead + (0x81 if lead < 0x1F else 0xC1), trail + (0x40 if trail < 0x3F else 0x41)))


def _gbk(pointer: int) -> bytes:
    lead, trail = divmod(pointer, 190)
    return bytes((lead + 0x81, trail + (0x40 if trail < 0x3F else 0x41)))


def _rows(first: int) -> Callable[[int], bytes]:
    return lambda pointer: bytes((pointer // 94 + first, pointer % 94 + first))


def _expected(pair: bytes, code_point: int | None) -> str:
    """The ASCII trail byte of an invalid pair is kept."""
    if code_point is not None:
        return chr(code_point)
    return "\ufffd" + (chr(pair[-1]) if pair[-1] < 0x80 else "")


@pytest.mark.parametrize(
    "name, index, count, pair",
    [
        ("big5", "big5", 126 * 157, _big5),
        (
            "euc-kr",
            "euc-kr",
            126 * 190,
            lambda pointer: bytes((pointer // 190 + 0x81, pointer % 190 + 0x41)),
        ),
        ("gbk", "gb18030", 126 * 190, _gbk),
        ("gb18030", "gb18030", 126 * 190, _gbk),
        ("shift_jis", "jis0208", 60 * 188, _shift_jis),
        ("euc-jp", "jis0208", 94 * 94, _rows(0xA1)),
        ("euc-jp", "jis0212", 94 * 94, lambda pointer: b"\x8f" + _rows(0xA1)(pointer)),
        (
            "iso-2022-jp",
            "jis0208",
            94 * 94,
            lambda pointer: b"\x1b$B" + _rows(0x21)(pointer) + b"\x1b(B",
        ),
    ],
)
def test_every_pointer_of_an_index(
    name: str, index: str, count: int, pair: Callable[[int], bytes]
) -> None:
    table = INDEXES[index]
    special: dict[int, str] = {}
    if name == "big5":  # section 11.1.1: pairs of code points
        special = {
            1133: "\u00ca\u0304",
            1135: "\u00ca\u030c",
            1164: "\u00ea\u0304",
            1166: "\u00ea\u030c",
        }
    if name == "shift_jis":  # section 12.3.1: end-user-defined characters
        special = {pointer: chr(0xE000 - 8836 + pointer) for pointer in range(8836, 10716)}
    wrong = []
    for pointer in range(count):
        data = pair(pointer)
        code_point = table[pointer] if pointer < len(table) else None
        expected = special.get(pointer) or ("\ufffd" if name == "iso-2022-jp" else None)
        if code_point is not None or expected is None:
            expected = _expected(data, code_point)
        if decode_as(name, data) != expected:
            wrong.append((pointer, data.hex(), decode_as(name, data), expected))
    assert not wrong


def test_every_range_of_gb18030() -> None:
    ranges: list[Any] = INDEXES["gb18030-ranges"]
    offsets = dict(ranges)
    offset, pointer_offset, data, expected = 0x80, 0, bytearray(), []
    for pointer in (*range(39_420), 189_000, *range(200_000, 1_237_576, 8_191), 1_237_575):
        if (pointer < 189_000 and pointer in offsets) or pointer == 189_000:
            offset, pointer_offset = offsets[pointer], pointer
        code_point = 0xE7C7 if pointer == 7457 else offset + pointer - pointer_offset
        a, b, c, d = pointer // 12_600, pointer // 1_260 % 10, pointer // 10 % 126, pointer % 10
        data += bytes((a + 0x81, b + 0x30, c + 0x81, d + 0x30))
        expected.append(chr(code_point))
    assert decode_as("gb18030", bytes(data)) == "".join(expected)
    for pointer in (39_420, 188_999, 1_237_576):
        four = bytes(
            (
                pointer // 12_600 + 0x81,
                pointer // 1_260 % 10 + 48,
                pointer // 10 % 126 + 0x81,
                pointer % 10 + 48,
            )
        )
        assert decode_as("gb18030", four) == "\ufffd"


def test_katakana_of_one_byte() -> None:
    katakana = "".join(map(chr, range(0xFF61, 0xFFA0)))
    assert decode_as("shift_jis", bytes(range(0xA1, 0xE0))) == katakana
    assert (
        decode_as("euc-jp", b"".join(b"\x8e" + bytes([byte]) for byte in range(0xA1, 0xE0)))
        == katakana
    )
    for shifted in (
        b"\x1b(I" + bytes(range(0x21, 0x60)) + b"\x1b(B",
        b"\x0e" + bytes(range(0x21, 0x60)) + b"\x0f",
    ):
        assert decode_as("iso-2022-jp", shifted + b"!") == katakana + "!"


@pytest.mark.parametrize(
    "name, data, text",
    [
        ("big5", b"\x80\xff\xa1", "\ufffd\ufffd\ufffd"),
        ("big5", b"\x81<b>\xa4\xff.", "\ufffd<b>\ufffd."),
        ("euc-kr", b"\xb0<\xff\xb0", "\ufffd<\ufffd\ufffd"),
        ("shift_jis", b"\x80\xa0\xfd\x81<\x81", "\x80\ufffd\ufffd\ufffd<\ufffd"),
        ("euc-jp", b"\x8e<\x8f\xa1<\x8f\x8e\xb0", "\ufffd<\ufffd<\ufffd\ufffd"),
        ("gb18030", b"\x80\xff\x81\x30<\x81\x30\x81<\x81<", "€\ufffd\ufffd0<\ufffd0\ufffd<\ufffd<"),
        ("gb18030", b"\xfe\x39\xfe\x39!", "\ufffd!"),
        ("iso-2022-jp", b"\x1b(J\\~\x1b(B\\~", "¥‾\\~"),
        ("iso-2022-jp", b"\x1b$B\x24\x22\nabc", "あ\nabc"),
        ("iso-2022-jp", b"\x1b$(D\x22\x37\x1b(B.", "～."),
        ("utf-16le", b"a\0\0\xd8b\0", "a\ufffdb"),
        ("utf-8", b"\xe4\xbd<\xf0\x9f\x98", "\ufffd<\ufffd"),
    ],
)
def test_broken_characters(name: str, data: bytes, text: str) -> None:
    assert decode_as(name, data) == text
