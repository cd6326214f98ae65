"""The form of text in documents: separated words stay separated, and characters visible only at
line ends are removed.
"""

import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ingest.clean import clean


@pytest.mark.parametrize(
    "between", ["\f", "\v", "\x85", "\x1c", "\x1d", "\x1e", "\u2028", "\u2029", "\r", "\r\n"]
)
def test_line_and_page_ends_separate_words(between: str) -> None:
    assert clean(f"first{between}second") == "first\nsecond"
    assert clean(f"第一{between}第二") == "第一\n第二"


def test_all_of_pythons_white_space_separates_words() -> None:
    spaces = [chr(point) for point in range(sys.maxunicode + 1) if chr(point).isspace()]
    assert len(spaces) > 20
    for space in spaces:
        assert clean(f"a{space}b").split() == ["a", "b"], hex(ord(space))


def test_a_page_break_at_a_line_end_makes_no_empty_line() -> None:
    """pdftotext writes a form feed after the last line end of a page, and sentences continue across
    pages.
    """
    assert (
        clean("of the\n\fking")
        == clean("of the\f\nking")
        == clean("of the\r\n\f\r\nking")
        == "of the\nking"
    )
    assert clean("end.\n\n\fNext") == "end.\n\nNext"


def test_soft_hyphens_and_byte_order_marks_are_removed() -> None:
    assert clean("Donau\xaddampf\xadschiff\xad") == "Donaudampfschiff"
    assert clean("zero\ufeffwidth") == "zerowidth"


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم",  # ZWNJ in Persian
        "क्\u200dष",  # ZWJ in Hindi
        "👨\u200d👩\u200d👧 ❤\ufe0f 🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "ខ្ញុំ\u200bទៅ",  # zero-width space between Khmer words
        "\u200fשלום\u200e (\u2067abc\u2069)",
        "a\u2060b",
        "葛\U000e0100城",  # ideographic variation selector
        "tab\tand\nline",
    ],
)
def test_invisible_characters_with_a_meaning_stay(text: str) -> None:
    assert clean(text) == unicodedata.normalize("NFC", text)


def test_no_other_control_character_is_left() -> None:
    everything = "".join(chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF)
    cleaned = clean(everything)
    assert {character for character in cleaned if unicodedata.category(character) == "Cc"} == {
        "\n",
        "\t",
    }
    assert clean(cleaned) == cleaned


SPECIAL = "ab \n\t\r\0\x7f\x85\x9f\xa0é\u0301\u0300\u2028\u2029\ufeff中\u0e38👍"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([*SPECIAL, "\ud800", "\u0301" * 30, "\u0316" * 31]), st.characters()
        )
    )
)
def test_the_fast_check_accepts_what_the_patterns_leave_alone(parts: list[str]) -> None:
    text = "".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.ingest.clean._is_clean", lambda text: False)
        slowly = clean(text)
    assert clean(text) == slowly == clean(slowly)
