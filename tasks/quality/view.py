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
"""Combining marks of the basic plane: `\\w` does not match them and would split Hindi words."""

_JOINERS = "\u200c\u200d"
_WORD = f"[^\\W_][\\w{_MARKS}{_JOINERS}]*"
WORD = re.compile(f"{_WORD}(?:['’\\-]{_WORD})*")
"""A word of a spaced language: letters, digits and marks, with inner apostrophes and hyphens."""

UNSPACED_CHARACTER = re.compile(f"[{UNSPACED_CLASS}]")
_UNSPACED_UNIT = re.compile(f"[{UNSPACED_CLASS}]|[^\\W_{UNSPACED_CLASS}]+")
_PARAGRAPH_BREAK = re.compile(r"\n{2,}")


class View:
    """Lazily computed views of one text.

    `unspaced`: each character of a script without spaces is a word, and so is each Latin word.
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
        """The non-blank lines, stripped."""
        return [line for line in map(str.strip, self.text.split("\n")) if line]

    @functools.cached_property
    def paragraphs(self) -> list[str]:
        """The paragraphs (text between blank lines), stripped."""
        paragraphs = map(str.strip, _PARAGRAPH_BREAK.split(self.text))
        return [paragraph for paragraph in paragraphs if paragraph]

    @functools.cached_property
    def words(self) -> list[str]:
        """Lower-case words without punctuation (see `unspaced`)."""
        return words_of(self.lower, self.unspaced)

    @functools.cached_property
    def tokens(self) -> list[str]:
        """Whitespace-separated tokens with punctuation; if unspaced, all characters but spaces."""
        return [c for c in self.text if not c.isspace()] if self.unspaced else self.text.split()

    @functools.cached_property
    def n_grams(self) -> NGrams:
        """The n-grams of `words`."""
        return NGrams(self.words)


def words_of(text: str, unspaced: bool) -> list[str]:
    """The words (characters if unspaced) of a text or line."""
    return (_UNSPACED_UNIT if unspaced else WORD).findall(text)


def looks_unspaced(text: str, characters: int = 2_000) -> bool:
    """Whether most letters of the first `characters` are of scripts written without spaces."""
    head = text[:characters]
    unspaced = len(UNSPACED_CHARACTER.findall(head))
    return 2 * unspaced > sum(map(str.isalpha, head))
