"""What the compiled loop calls unchanged, cleaning leaves as it is, to the character."""

import contextlib
import unicodedata

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.ingest.clean import cleaned
from tasks.ingest.clean_kernel import classes, examine

TELLING = "a b\n\t\r\x0b\x1c\x7f\x85\xa0\xad\u0301\u0345\u0308e\u1161\u11a8\uac00\u2028\ufeff\ufffd"
TELLING += (
    "\u09be\u0bbe\u0f71\u3000\u3042\u4e2d\u212b\uf900\U0002f800\U00020000\U0001f600\u0628\u064e"
)


def examined(texts: list[str]) -> tuple[list[bool], list[int]]:
    malformed, flags, characters = of_bytes([text.encode() for text in texts])
    assert not any(malformed)
    return flags, characters


def of_bytes(encoded: list[bytes]) -> tuple[list[bool], list[bool], list[int]]:
    data = b"".join(encoded)
    starts = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    malformed, flags = np.zeros((2, len(encoded)), dtype=bool)
    characters, undecoded = np.zeros((2, len(encoded)), dtype=np.int64)
    whole = np.frombuffer(data or b"\0", np.uint8)
    words = np.frombuffer(data, np.uint64, count=len(data) // 8)
    examine(whole, words, starts, classes(), malformed, flags, characters, undecoded)
    for text, bad, replaced in zip(encoded, malformed, undecoded, strict=True):
        assert bad or replaced == text.decode().count("\ufffd")
    return malformed.tolist(), flags.tolist(), characters.tolist()


MALFORMED = st.binary(max_size=12) | st.builds(
    bytes, st.lists(st.sampled_from([0x20, 0x41, *range(0x7F, 0xC4), *range(0xDF, 0x100)]))
)


@given(st.lists(MALFORMED | st.text(max_size=9).map(str.encode), max_size=9))
def test_what_is_no_utf8_is_told(encoded: list[bytes]) -> None:
    def decodes(text: bytes) -> bool:
        with contextlib.suppress(UnicodeDecodeError):
            text.decode()
            return True
        return False

    assert of_bytes(encoded)[0] == [not decodes(text) for text in encoded]


texts_of = st.lists(
    st.text(st.sampled_from(TELLING)) | st.text(st.characters(exclude_categories=["Cs"])),
    max_size=9,
)


@given(texts_of)
def test_what_is_not_flagged_is_not_changed(texts: list[str]) -> None:
    flags, characters = examined(texts)
    assert characters == list(map(len, texts))
    for text, flagged in zip(texts, flags, strict=True):
        if not flagged:
            assert cleaned(text) == (text, 0) and text.strip() == text


def test_ordinary_text_is_not_flagged() -> None:
    texts = [
        "Plain English,\nover two lines.",
        "caf\xe9 \u2014 na\xefve \u201cquotes\u201d",
        "\u4e2d\u6587\uff0c\u6ca1\u6709\u7a7a\u683c\u3002",
        "\uac00\ub098\ub2e4 \u0440\u0443\u0441\u0441\u043a\u0438\u0439 \U0001f600",
        "",
    ]
    assert examined(texts)[0] == [False] * len(texts)


def test_every_character_that_normalisation_touches_is_flagged() -> None:
    """Alone, after a letter, and after itself: over all of Unicode."""
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    flags = examined([f"a{chr(point)}{chr(point)}a" for point in points])[0]
    for point, flagged in zip(points, flags, strict=True):
        text = f"a{chr(point)}{chr(point)}a"
        if not flagged:
            assert unicodedata.normalize("NFC", text) == text, hex(point)
