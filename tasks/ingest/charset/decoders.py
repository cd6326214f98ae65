"""Decoders of the WHATWG Encoding Standard (encoding.spec.whatwg.org, sections 9 to 14) for every
encoding it names.

Python's codecs have most of the standard's tables under other names; the few code points that
differ are corrected below. Error handling follows the standard as well: where a lead byte is
followed by an invalid ASCII byte, only the lead byte is replaced, so a broken character never
swallows the "<" after it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable
from functools import cache

from tasks.ingest.charset.iso2022 import decode_iso2022_jp
from tasks.ingest.charset.jis import HALFWIDTH_KATAKANA, jis0208, jis0212
from tasks.ingest.charset.labels import LABELS

_PYTHON_NAMES = {"macintosh": "mac_roman", "windows-874": "cp874", "x-mac-cyrillic": "mac_cyrillic"}
_SAME_TABLE = {"iso-8859-8-i": "iso-8859-8", "gbk": "gb18030"}
_C1_FILLED = re.compile(r"windows-(?:125\d|874)")
"""Encodings in which the standard maps unassigned bytes from 0x80 to 0x9F to the C1 control with
the same number.
"""
_SINGLE_BYTE_DIFFERENCES = {"koi8-u": {0xAE: "ў", 0xBE: "Ў"}, "windows-1255": {0xCA: "\u05ba"}}

_BIG5_DIFFERENCES = """
877a 㡵𡵓𣚞𦀡㻬 87a1 𥣞㫵竼龗𤅡𨤍𣇪𠪊𣉞䌊蒄龖鐯䤰蘓墖靊鈘秐稲晠権袝瑌篅枂稬剏遆㓦
87bf 珄𥶹瓆鿇垳䤯呌䄱𣚎堘穲𧭥讏䚮𦺈䆁𥶙箮𢒼鿈𢓁𢓉𢓌鿉蔄𣖻䂴鿊䓡𪷿 87dd 拁灮鿋 8e69 箸 8e6f 簆 8e7e 糎 8eab 緒
8eb4 縝 8ecd 者 8ed0 耨 8f57 菁 8f69 蒨 8f6e 萏 8fcb 覦覩 8ffe 起 906d 都 907a 銹 90dc 靜 90f1 響 91bf 鼖
9244 蔃 92af 兙兛兝兞 92c8 鍮 92d1 瑹 9447 浧 94ca 禛 95d9 邗 9644 靝 96ed 瀞 96fc 嬨 9b76 爁 9b78 矗 9b7b 纇
9bc6 駖 9bde 釔 9bec 惞 9bf6 澶 9c42 輶 9c53 侻 9c62 營 9c68 鄄 9c6b 鷰 9c77 菏 9cbc 尐秣 9cd0 婧 9d57 輋
9d5a 筑 9dc4 拐 9ea9 恢 9eef 痹 9efd 汊 9f60 鬮 9f66 鼗 9fcb 僭 9fd8 弌 a063 蠏 a077 拎 a0d5 瑨 a0df 煢 a0e4 牐
a145 ‧ a14e ﹑ a1c2 ¯ a1e3 ～ a1f2 ⊕⊙ a241 ∕﹨ a244 ￥ a246 ￠￡ a3c0 ␀␁␂␃␄␅␆␇␈␉␊␋␌␍␎␏␐␑␒␓␔␕␖␗␘␙␚␛␜␝ a3de ␞␟␡€
c6cf 廴 c6d3 无 c6d5 癶 c6d7 隶 c6de 〃仝 fa5f 倩 fa66 偽 fabd 包 fac5 卄 fad5 卿 fb48 嘅 fbb8 婷 fbf3 幵
fbf9 廐 fc4f 彘 fc6c 悤 fcb9 撐 fce2 晴 fcf1 杞 fdb7 沜渝 fdbb 港 fdf1 煮 fe52 猪 fe6f 瑜 feaa 瓩 fedd 砉
"""
"""Where the standard's Big5 differs from Python's big5hkscs: runs of characters, each after the byte
pair of its first.
"""

_GB18030_DIFFERENCES = """
a3a0 \u3000 a6d9 ︐︒︑︓︔︕︖ a6ec ︗︘ a6f3 ︙ a8bc ḿ fe59 龴 fe61 龵 fe66 龶龷 fe6d 龸 fe7e 龹 fe90 龺 fea0 龻
"""
"""The same for gb18030: Python has the edition of 2000, the standard that of 2022."""

_DIFFERENCE = re.compile(r"([0-9a-f]{4}) ([^ \n]+)")

_TOKENS = {
    "gb18030": rb"[\0-\x7f]+|[\x81-\xfe](?:[0-9][\x81-\xfe][0-9]|[^0-9])|[\x80-\xff]",
    "big5": rb"[\0-\x7f]+|[\x81-\xfe][\0-\xff]|[\x80-\xff]",
    "euc-kr": rb"[\0-\x7f]+|[\x81-\xfe][\0-\xff]|[\x80-\xff]",
    "shift_jis": rb"[\0-\x7f]+|[\x81-\x9f\xe0-\xfc][\0-\xff]|[\x80-\xff]",
    "euc-jp": rb"[\0-\x7f]+|\x8f[\xa1-\xfe][\0-\xff]|[\x8e\x8f\xa1-\xfe][\0-\xff]|[\x80-\xff]",
}
"""What a decoder consumes in one step: a run of ASCII, a whole character, or a byte that cannot
start one.
"""

NOT_SINGLE_BYTE = frozenset(_TOKENS) | {
    "gbk",
    "utf-8",
    "utf-16le",
    "utf-16be",
    "iso-2022-jp",
    "replacement",
}


class _Characters(dict[bytes, str]):
    """Bytes -> character. Invalid bytes give U+FFFD, followed by their last byte if it is ASCII."""

    def __missing__(self, token: bytes) -> str:
        if token[0] < 0x80:
            return token.decode("ascii")
        if len(token) == 4:  # rare, and there are a million of them
            return self.setdefault(token, token.decode("gb18030", "replace")[0])
        return "\ufffd" + (chr(token[-1]) if token[-1] < 0x80 else "")


def decode_as(name: str, data: bytes) -> str:
    """Decode bytes in the encoding with this name (the standard's, in lower case).

    Invalid bytes become U+FFFD; "replacement" turns any non-empty input into one U+FFFD. Raises
    KeyError for a name that the standard does not have.
    """
    return _decoder(name)(data)


@cache
def single_byte_table(name: str) -> str:
    """The 256 characters of a single-byte encoding; U+FFFD for unassigned bytes."""
    if name == "x-user-defined":
        return bytes(range(128)).decode("ascii") + "".join(map(chr, range(0xF780, 0xF800)))
    name = _SAME_TABLE.get(name, name)
    table = list(bytes(range(256)).decode(_PYTHON_NAMES.get(name, name), "replace"))
    if _C1_FILLED.fullmatch(name):
        table[0x80:0xA0] = [
            chr(byte) if character == "\ufffd" else character
            for byte, character in enumerate(table[0x80:0xA0], 0x80)
        ]
    for byte, character in _SINGLE_BYTE_DIFFERENCES.get(name, {}).items():
        table[byte] = character
    return "".join(table)


@cache
def _decoder(name: str) -> Callable[[bytes], str]:
    if name not in LABELS.values():
        raise KeyError(name)
    if name in ("utf-8", "utf-16le", "utf-16be"):
        return lambda data: codecs.decode(data, name, "replace")
    if name == "iso-2022-jp":
        return decode_iso2022_jp
    if name == "replacement":
        return lambda data: "\ufffd" if data else ""
    if name in NOT_SINGLE_BYTE:
        name = _SAME_TABLE.get(name, name)
        characters, tokens = _double_byte(name), re.compile(_TOKENS[name], re.DOTALL)
        return lambda data: "".join(map(characters.__getitem__, tokens.findall(data)))
    table = single_byte_table(name)
    return lambda data: codecs.charmap_decode(data, "strict", table)[0]


def _double_byte(name: str) -> _Characters:
    match name:
        case "big5":
            return _pairs("big5hkscs", range(0x81, 0xFF), _BIG5_DIFFERENCES)
        case "gb18030":
            characters = _pairs("gb18030", range(0x81, 0xFF), _GB18030_DIFFERENCES)
            characters |= {b"\x80": "€", b"\x81\x35\xf4\x37": "\ue7c7"}
            return characters
        case "euc-kr":
            return _pairs("cp949", range(0x81, 0xFF))
        case "shift_jis":
            characters = _pairs("cp932", (*range(0x81, 0xA0), *range(0xE0, 0xFD)))
            characters[b"\x80"] = "\x80"
            characters |= {
                bytes([byte + 0x80]): character for byte, character in HALFWIDTH_KATAKANA.items()
            }
            return characters
        case _:
            eighth_bits = bytes(byte | 0x80 for byte in range(256))
            characters = _Characters(
                (pair.translate(eighth_bits), value) for pair, value in jis0208().items()
            )
            characters |= {
                b"\x8e" + bytes([byte + 0x80]): value for byte, value in HALFWIDTH_KATAKANA.items()
            }
            characters |= {
                b"\x8f" + pair.translate(eighth_bits): value for pair, value in jis0212().items()
            }
            return characters


def _pairs(codec: str, leads: Iterable[int], differences: str = "") -> _Characters:
    """The two-byte characters of a Python codec, corrected by `differences`."""
    characters = _Characters()
    for lead in leads:
        for trail in range(0x40, 0xFF):
            pair = bytes((lead, trail))
            try:
                characters[pair] = pair.decode(codec)
            except UnicodeDecodeError:
                continue
    for first, run in _DIFFERENCE.findall(differences):
        for pair_number, character in enumerate(run, int(first, 16)):
            characters[pair_number.to_bytes(2)] = character
    return characters
