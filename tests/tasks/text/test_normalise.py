"""The normaliser against one that follows the published steps character by character."""

import itertools
import re
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text.normalise import (
    CC_NET,
    CONTROLS,
    PUNCTUATION,
    Steps,
    _by_code_points,
    _replacement,
    normalise,
)


def literally(text: str, steps: Steps = CC_NET) -> str:
    """strip, lower, NFD without Mn, digits, punctuation (with cc_net's own fullwidth-one entry),
    controls.
    """
    text = text.strip()
    if steps.lower_case:
        text = text.lower()
    if steps.strip_accents:
        text = unicodedata.normalize("NFD", text)
        text = "".join(character for character in text if unicodedata.category(character) != "Mn")
    if steps.zero_digits:
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


ALL_STEPS = [Steps(*taken) for taken in itertools.product((True, False), repeat=3)]


@settings(deadline=None)  # the first calls build tables
@given(
    st.sampled_from(ALL_STEPS),
    st.text(st.characters() | st.sampled_from("１٣7é\u0301ΣÀß—…\x85")),
    st.booleans(),
)
def test_steps_may_be_left_out(steps: Steps, text: str, long: bool) -> None:
    text = f"{'Much of IT, 12 times. ' * 40}{text}" if long else text
    assert normalise(text, steps) == literally(text, steps)


def test_steps_are_named() -> None:
    assert str(CC_NET) == "cc_net/1"
    assert str(Steps(lower_case=False, strip_accents=False)) == "cc_net/1-lower_case-strip_accents"
    assert [Steps.parse(str(steps)) for steps in ALL_STEPS] == ALL_STEPS
    with pytest.raises(ValueError, match=r"'cc_net/2' is not one of cc_net/1, "):
        Steps.parse("cc_net/2")


@pytest.mark.real
def test_real_text_in_many_languages(real_data) -> None:
    paths = sorted((real_data / "lid" / "lingua-sentences-first-half").glob("*.txt"))
    assert len(paths) > 50
    for path in paths:
        text = path.read_text(encoding="utf-8")[:20_000]
        assert normalise(text) == literally(text), path.name
