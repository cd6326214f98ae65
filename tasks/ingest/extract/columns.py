"""Columns of the tables that `scan` fills: one row an element, one row a block."""

from __future__ import annotations

from numba import types

ELEMENT_COLUMNS = ("parent", "tag", "first", "end")
"""Place of the parent (-1: none), number of the name, first block inside, end of the blocks."""

ELEMENT_MASKS = ("tags", "words", "own_words", "own_hash")
"""Elements around it and itself (`ANCESTORS`, and whether hidden), categories of class words around
it and its own, its own alone, hash of its name and class.
"""

BLOCK_COLUMNS = (
    "start", "end", "element", "width", "words", "linked", "links", "buttons", "upper", "digits",
    "punctuation", "sentences", "marks", "first", "last", "breaks", "title", "description", "data",
    "wide", "bold",
)  # fmt: skip
"""Place in the text buffer; the nearest element that is not inline; cells (wide characters are
two); words; cells in links, links, cells in controls; capitals, digits, commas and the like, ends
of sentences; kinds of marks, by bit (price, copyright, arrow, bar, at); kinds of the first and last
character; <br>; words that the title, the description, the JSON-LD has too; wide characters; cells
in bold.
"""

E_PARENT, E_TAG, E_FIRST, E_END = range(4)
M_TAGS, M_WORDS, M_OWN, M_HASH = range(4)
(
    B_START, B_END, B_ELEMENT, B_WIDTH, B_WORDS, B_LINKED, B_LINKS, B_BUTTONS, B_UPPER, B_DIGITS,
    B_PUNCTUATION, B_SENTENCES, B_MARKS, B_FIRST, B_LAST, B_BREAKS, B_TITLE, B_DESCRIPTION, B_DATA,
    B_WIDE, B_BOLD,
) = range(len(BLOCK_COLUMNS))  # fmt: skip
N_BLOCK = len(BLOCK_COLUMNS)

PRICE, COPYRIGHT, ARROW, BAR, AT = (1 << bit for bit in range(5))
OTHER, DIGIT, SENTENCE_END, COLON, QUOTE = range(5)
"""Kinds of a block's last character. Of its first: 0 other, 1 a digit, 2 a capital, 3 a small
letter, 4 a letter of a script without capitals.
"""

HIDDEN, ARIA_HIDDEN = 60, 61
"""Bits of "tags": not displayed; hidden from screen readers, or by the name of a class."""

BYTES = types.Array(types.uint8, 1, "C", readonly=True)
HASHES = types.Array(types.uint64, 1, "C", readonly=True)
NUMBERS = types.Array(types.int64, 1, "C", readonly=True)
