"""A document as the quality rules see it: text, lines, paragraphs and words, each computed once."""

from __future__ import annotations

import functools
import re
import unicodedata

from tasks.quality.repetition import NGrams
from tasks.text.scripts import UNSPACED_CLASS

_MARKS = "".join(
    chr(p) for p in range(0x300, 0x10000) if unicodedata.category(chr(p)) in ("Mn", "Mc")
)
"""Vowel signs and accents of the basic plane: `\\w` leaves them out, and would cut Hindi and Tamil
words to pieces.
"""

_JOINERS = "\u200c\u200d"
_WORD = f"[^\\W_][\\w{_MARKS}{_JOINERS}]*"
WORD = re.compile(f"{_WORD}(?:['’\\-]{_WORD})*")
"""A word of a spaced language: letters, digits and marks, with inner apostrophes and hyphens."""

UNSPACED_CHARACTER = re.compile(f"[{UNSPACED_CLASS}]")
_UNSPACED_UNIT = re.compile(f"[{UNSPACED_CLASS}]|[^\\W_{UNSPACED_CLASS}]+")
_PARAGRAPH_BREAK = re.compile(r"\n{2,}")


class View:
    """Lazy views of one text. `unspaced`: words are single characters of scripts without spaces
    (and Latin words).
    """

    def __init__(self, text: str, unspaced: bool = False) -> None:
        self.text = text
        self.unspaced = unspaced

    @functools.cached_property
    def lower(self) -> str:
        """The text in lower case."""
        return self.text.lower()

    @functools.cached_property
    def lines(self) -> list[str]:
        """Lines that are not blank, stripped."""
        return [line for line in map(str.strip, self.text.split("\n")) if line]

    @functools.cached_property
    def paragraphs(self) -> list[str]:
        """Stretches of text between blank lines, stripped."""
        return [part for part in map(str.strip, _PARAGRAPH_BREAK.split(self.text)) if part]

    @functools.cached_property
    def words(self) -> list[str]:
        """Words without punctuation, in lower case; of an unspaced text, its characters."""
        return words_of(self.lower, self.unspaced)

    @functools.cached_property
    def tokens(self) -> list[str]:
        """What stands between spaces, punctuation included; of an unspaced text, every character
        but spaces.
        """
        return [c for c in self.text if not c.isspace()] if self.unspaced else self.text.split()

    @functools.cached_property
    def n_grams(self) -> NGrams:
        """The n-grams of `words`."""
        return NGrams(self.words)


def words_of(text: str, unspaced: bool) -> list[str]:
    """The words (or characters) of a text or line."""
    return (_UNSPACED_UNIT if unspaced else WORD).findall(text)


def looks_unspaced(text: str, characters: int = 2_000) -> bool:
    """Whether most letters at the start of a text of unknown language belong to scripts written
    without spaces.
    """
    head = text[:characters]
    unspaced = len(UNSPACED_CHARACTER.findall(head))
    return 2 * unspaced > sum(map(str.isalpha, head))
