"""The normaliser against one that follows the published steps character by character."""

import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text.normalise import CONTROLS, PUNCTUATION, _by_code_points, _replacement, normalise


def literally(text: str) -> str:
    """Strip, lower case, NFD without Mn, digits, punctuation (with cc_net's entry for the full-
    width one), control characters.
    """
    text = unicodedata.normalize("NFD", text.strip().lower())
    text = "".join(character for character in text if unicodedata.category(character) != "Mn")
    text = re.sub(r"\d", "0", text)
    text = "".join((PUNCTUATION | {"１": '"'}).get(character, character) for character in text)
    return "".join(character for character in text if ord(character) not in CONTROLS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # the figure that cc_net's own code gave
        (
            "Hello World.\nIn 2019, Café cost 1,250.5€ １２",
            "hello world.in 0000, cafe cost 0,000.0€ 00",
        ),
        ("", ""),
        (" \t\n", ""),
        ("Tab\there\u007f\u0085.", "tabhere."),
        ("«Ça» — c’est l’été…", "\"ca\"  -  c'est l'ete..."),
        ("他说：“你好！”（第１２章）。", '他说:"你好!"(第00章).'),
        ("٣ ३ 𝟗", "0 0 0"),
        ("각", "\u1100\u1161\u11a8"),
        ("ΣΊΣΥΦΟΣ", "σισυφος"),
        ("İ", "i"),
    ],
)
def test_examples(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize("separator", ["a", "é"])
def test_every_code_point(separator: str) -> None:
    for start in range(0, sys.maxunicode + 1, 4_096):
        text = separator.join(map(chr, range(start, start + 4_096)))
        assert normalise(text) == literally(text), hex(start)


def test_what_replaces_a_character_is_normal() -> None:
    """Else replacing one character of a text after another could change it twice."""
    assigned = [
        chr(code)
        for code in range(128, sys.maxunicode + 1)
        if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs")
    ]
    found = [_replacement.__wrapped__(character) for character in assigned]
    normal = "a".join(replacement[1].decode() for replacement in found if replacement)
    assert _by_code_points(normal) == normal
    assert sum(replacement is None for replacement in found) < 50


@given(st.lists(st.sampled_from("éΣσ’—\u0323\u302e\U0001d165\u1715１\x85…"), max_size=9), st.text())
def test_few_characters_in_much_ascii(few: list[str], tail: str) -> None:
    text = f"{'MUCH of it, 12 times. ' * 20}".join(["", *few, tail])
    assert normalise(text) == literally(text)


@given(
    st.text(
        st.characters()
        | st.sampled_from([*PUNCTUATION, "１", "\u0301", "\u0323", "a", "é", "Σ", "\n", "7", " "])
    )
)
def test_any_text(text: str) -> None:
    assert normalise(text) == literally(text)


@pytest.mark.real
def test_real_text_in_many_languages(real_data) -> None:
    paths = sorted((real_data / "lid" / "lingua-sentences-first-half").glob("*.txt"))
    assert len(paths) > 50
    for path in paths:
        text = path.read_text(encoding="utf-8")[:20_000]
        assert normalise(text) == literally(text), path.name
