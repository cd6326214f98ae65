"""Real sentences in legacy encodings: language x encoding x length x plain or page x declared
rightly, wrongly or not.

The sentences are the second halves of `lid/lingua-sentences-first-half`;
`tasks.ingest.charset.frequent` was counted in the first halves (and the Universal Declaration), so
that nothing is tried on what it was made from. Traditional Chinese is the Declaration's, for want
of other text. Control characters that the sentences hold (0x80 to 0x9F) are left out.
"""

from __future__ import annotations

import random
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LABELS = {
    "zh": ("gb18030", "gbk"), "zh_hant": ("big5",), "ja": ("shift_jis", "euc-jp", "iso-2022-jp"),
    "ko": ("euc-kr",),
    "ru": ("windows-1251", "koi8-r", "iso-8859-5", "ibm866", "x-mac-cyrillic"),
    "uk": ("windows-1251", "koi8-u"),
    "bg": ("windows-1251",), "sr": ("windows-1251",), "be": ("windows-1251",),
    "el": ("windows-1253", "iso-8859-7"),
    "he": ("windows-1255",), "ar": ("windows-1256", "iso-8859-6"), "fa": ("windows-1256",),
    "th": ("windows-874",),
    "tr": ("windows-1254",), "vi": ("windows-1258",), "pl": ("windows-1250", "iso-8859-2"),
    "cs": ("windows-1250", "iso-8859-2"), "hu": ("windows-1250", "iso-8859-2"),
    "ro": ("windows-1250",),
    "hr": ("windows-1250",), "lt": ("windows-1257",), "lv": ("windows-1257",),
    "et": ("windows-1257",),
    "de": ("windows-1252", "macintosh"), "fr": ("windows-1252", "iso-8859-15", "macintosh"),
    "es": ("windows-1252",),
    "pt": ("windows-1252",), "it": ("windows-1252",), "nl": ("windows-1252",),
    "sv": ("windows-1252",), "en": ("windows-1252",),
}  # fmt: skip
CODECS = {
    "shift_jis": "cp932", "euc-kr": "cp949", "windows-874": "cp874", "macintosh": "mac_roman",
    "x-mac-cyrillic": "mac_cyrillic",
}  # fmt: skip
WRONG = ("iso-8859-1", "utf-8", "gb2312", "windows-1251", "shift_jis", "utf-16", "iso-8859-2")
LENGTHS = (60, 200, 1_000, 5_000)
_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>{title}</title><style>body {{ margin: 0 "
    "}}</style></head>\n<body>"
    '<div class="n"><a href="/index.html">{title}</a></div>\n<div id="c"><p>{body}</p></div>\n'
    "<div>Copyright 2009</div></body></html>"
)
_TONES = "\u0300\u0301\u0303\u0309\u0323"


class Case(NamedTuple):
    """Bytes, what they say, and what was declared of them."""

    language: str
    label: str
    length: int
    page: bool
    declaration: str
    declared: str | None
    text: str
    data: bytes


def cases(data: Path, repeats: int, lengths: tuple[int, ...] = LENGTHS) -> Iterator[Case]:
    """`repeats` stretches of text for each combination, the same ones in every run."""
    rng = random.Random(0)
    for language, labels in LABELS.items():
        sentences = _sentences(data, language)
        for label in labels:
            codec = CODECS.get(label, label)
            for length in lengths:
                for number in range(repeats):
                    start = rng.randrange(max(1, len(sentences) - length))
                    body = sentences[start : start + length].encode(codec, "ignore").decode(codec)
                    page = number % 2 == 1
                    text = (
                        _PAGE.format(title=body[:12].strip().replace("\n", " "), body=body)
                        if page
                        else body
                    )
                    wrong = rng.choice([name for name in WRONG if name != label])
                    for declaration, declared in (
                        ("none", None),
                        ("right", label),
                        ("wrong", wrong),
                    ):
                        yield Case(
                            language,
                            label,
                            length,
                            page,
                            declaration,
                            declared,
                            text,
                            text.encode(codec),
                        )


def same_text(found: str, expected: str) -> bool:
    """Python's EUC-JP and ISO-2022-JP have another wave dash and minus than the standard."""
    pairs = str.maketrans("〜−‖", "～－∥")
    return found.translate(pairs) == expected.translate(pairs)


def _sentences(data: Path, language: str) -> str:
    if language == "zh_hant":
        with zipfile.ZipFile(data / "lid" / "udhr" / "udhr2.zip") as archive:
            return archive.read("udhr2/cmn_hant.txt").decode("utf-8-sig")
    text = (data / "lid" / "lingua-sentences-first-half" / f"{language}.txt").read_text(
        encoding="utf-8"
    )
    half = "".join(
        character for character in text[len(text) // 2 :] if not "\x80" <= character < "\xa0"
    )
    return "".join(map(_toned, unicodedata.normalize("NFC", half))) if language == "vi" else half


def _toned(character: str) -> str:
    """As windows-1258 writes Vietnamese: a letter and a combining tone."""
    decomposed = unicodedata.normalize("NFD", character)
    tone = next((mark for mark in decomposed if mark in _TONES), "")
    try:
        character.encode("cp1258")
    except UnicodeEncodeError:
        return (
            unicodedata.normalize("NFC", decomposed.replace(tone, "")) + tone if tone else character
        )
    return character
