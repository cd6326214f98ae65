"""The form of text in documents: what parts words goes on parting them, what only shows at line
ends goes.
"""

import sys
import unicodedata

import pytest

from tasks.ingest.clean import clean


@pytest.mark.parametrize(
    "between", ["\f", "\v", "\x85", "\x1c", "\x1d", "\x1e", "\u2028", "\u2029", "\r", "\r\n"]
)
def test_line_and_page_ends_part_words(between: str) -> None:
    assert clean(f"first{between}second") == "first\nsecond"
    assert clean(f"第一{between}第二") == "第一\n第二"


def test_every_character_that_python_takes_for_white_space_parts_words() -> None:
    spaces = [chr(point) for point in range(sys.maxunicode + 1) if chr(point).isspace()]
    assert len(spaces) > 20
    for space in spaces:
        assert clean(f"a{space}b").split() == ["a", "b"], hex(ord(space))


def test_a_page_break_at_a_line_end_makes_no_empty_line() -> None:
    """pdftotext writes a form feed after the last line end of a page; sentences run on over
    pages.
    """
    assert (
        clean("of the\n\fking")
        == clean("of the\f\nking")
        == clean("of the\r\n\f\r\nking")
        == "of the\nking"
    )
    assert clean("end.\n\n\fNext") == "end.\n\nNext"


def test_soft_hyphens_and_marks_of_byte_order_go() -> None:
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
        "葛\U000e0100城",  # variation of an ideograph
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
