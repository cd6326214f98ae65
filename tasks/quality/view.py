"""A document as the quality rules see it: text, lines, paragraphs and words, each computed once."""

from __future__ import annotations

import functools
import re

import numpy as np
import numpy.typing as npt

from tasks.quality.repetition import NGrams, duplicates
from tasks.quality.segmenters import SEGMENTERS
from tasks.quality.words import SYMBOLS, UNSPACED_CHARACTER, Vocabulary

C4_LINE_ENDS = (*".?!\"'", *"”’", *"。！？」』", *"؟۔।॥։።។")
"""What a line ends in that C4 keeps: in English a full stop, question or exclamation mark or
quotation mark.
"""

_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_PARAGRAPH_BREAK = re.compile(r"\n{2,}")


class View:
    """Lazily computed views of one text; `unspaced`: its script has no spaces."""

    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self.text = text
        self.unspaced = vocabulary.style in ("unspaced", *SEGMENTERS)
        self._vocabulary = vocabulary

    @functools.cached_property
    def lower(self) -> str:
        """The text in lower case."""
        return self.text.lower()

    @functools.cached_property
    def lines(self) -> list[str]:
        """The non-blank lines, stripped."""
        return [line for line in map(str.strip, self.text.split("\n")) if line]

    @functools.cached_property
    def sentence_lines(self) -> list[str]:
        """The lines that end like a sentence, without citations ("[3]"), as C4 keeps them."""
        lines = self.lines
        if "[" in self.text:
            lines = [_CITATION.sub("", line) for line in lines]
        return [
            line
            for line in lines
            if line.endswith(C4_LINE_ENDS) and not line.endswith(("...", "……"))
        ]

    @functools.cached_property
    def paragraphs(self) -> list[str]:
        """The paragraphs (text between blank lines), stripped."""
        paragraphs = map(str.strip, _PARAGRAPH_BREAK.split(self.text))
        return [paragraph for paragraph in paragraphs if paragraph]

    @functools.cached_property
    def repeated_lines(self) -> tuple[float, int]:
        """`duplicates` of the lines that are not empty, as they are."""
        return duplicates([line for line in self.text.split("\n") if line])

    @functools.cached_property
    def repeated_paragraphs(self) -> tuple[float, int]:
        """`duplicates` of the paragraphs."""
        return duplicates(self.paragraphs)

    @functools.cached_property
    def numbers_W(self) -> npt.NDArray[np.int64]:
        """The words, punctuation too, as numbers (`tasks.quality.words`)."""
        return self._vocabulary.numbers(self.text)

    @functools.cached_property
    def different_words(self) -> frozenset[str]:
        """The different words."""
        return frozenset(self._vocabulary.different(self.numbers_W))

    @functools.cached_property
    def lengths_W(self) -> npt.NDArray[np.int64]:
        """Characters of each word."""
        return self._vocabulary.lengths(self.numbers_W)

    @functools.cached_property
    def kinds_W(self) -> npt.NDArray[np.uint8]:
        """Kind of each word."""
        return self._vocabulary.kinds(self.numbers_W)

    @functools.cached_property
    def proper_W(self) -> npt.NDArray[np.bool_]:
        """Which words are more than punctuation."""
        proper: npt.NDArray[np.bool_] = self.kinds_W != SYMBOLS
        return proper

    @functools.cached_property
    def n_grams(self) -> NGrams:
        """The n-grams of `words`, joined by spaces unless they are single characters."""
        spaced = self._vocabulary.style != "unspaced"
        return NGrams(self.numbers_W, self.lengths_W, spaced)


def looks_unspaced(text: str, characters: int = 2_000) -> bool:
    """Whether most letters of the first `characters` are of scripts written without spaces."""
    head = text[:characters]
    unspaced = len(UNSPACED_CHARACTER.findall(head))
    return 2 * unspaced > sum(map(str.isalpha, head))
