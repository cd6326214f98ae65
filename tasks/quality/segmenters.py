"""Words of Chinese and Japanese as dictionaries have them: who may choose them, and the words.

Text in scripts without spaces is counted in characters, unless the recipe asks for words:
`settings: {zh: {words: jieba}, ja: {words: sudachi}}`. These are the segmenters of datatrove, with
whose words FineWeb-2's limits were fitted, so limits then hold without being converted.

- jieba 0.42.1, as spaCy's Chinese tokenizer calls it. The words come from `rjieba`, a port that is
  30 times as fast. It differs in two ways, which are undone here: it leaves runs like `www.a-b.com`
  whole, which jieba cuts, and takes rare ideographs for letters of words, which to jieba are marks.
- SudachiPy in mode A (short units) with `sudachidict_core`, as spaCy's Japanese tokenizer.

Both are extras of this package. A dictionary is loaded once per process, with the first text.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from infra.stage import StageError

CHARACTERS = "characters"
WORDS = "words"
"""Key of `settings` below a language that chooses its words."""


class Cutter(NamedTuple):
    """How text is cut: into chunks, and a chunk into words. Equal chunks have equal words."""

    chunks: Callable[[str], list[str]]
    words: Callable[[str], list[str]]


class _Extra(NamedTuple):
    name: str
    modules: tuple[str, ...]
    packages: str


CHOICES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("zh", "wuu", "yue"), (CHARACTERS, "jieba")),
    "ja": (CHARACTERS, "sudachi"),
    **dict.fromkeys(("th", "lo", "km", "my"), (CHARACTERS,)),
}
"""Language written without spaces -> the values of its setting `words`, the default one first."""

_EXTRAS: Mapping[str, _Extra] = {
    "jieba": _Extra("jieba", ("rjieba",), "rjieba"),
    "sudachi": _Extra("sudachi", ("sudachipy", "sudachidict_core"), "sudachipy, sudachidict_core"),
}
SEGMENTERS = tuple(_EXTRAS)


def check_words(language: str, value: Any) -> None:
    """Check a recipe's setting `words`; ValueError if the language has no such choice, or the
    segmenter is not installed.
    """
    choices = CHOICES.get(language)
    if choices is None:
        several = "; ".join(
            f"{code}: {' or '.join(values)}" for code, values in CHOICES.items() if values[1:]
        )
        stands = "every language" if language == "*" else repr(language)
        raise ValueError(
            f"settings of {language!r}: how words are found cannot be chosen for {stands}, so "
            f"'words' is not a setting there, and {value!r} no value; remove it (languages with a "
            f"choice are {several})"
        )
    if value not in choices:
        raise ValueError(
            f"settings of {language!r}: 'words' must be {' or '.join(choices)}, not {value!r}"
        )
    if value in _EXTRAS and (problem := _missing(value)):
        raise ValueError(f"settings of {language!r}: {problem}")


def words_setting(language: str, settings: Mapping[str, Mapping[str, Any]]) -> str:
    """How words are found in a language by a recipe's `settings`; `characters` where it says
    nothing, and for languages with spaces, to which it means nothing.
    """
    return str(settings.get(language, {}).get(WORDS, CHARACTERS))


def _missing(segmenter: str) -> str:
    extra = _EXTRAS[segmenter]
    if all(importlib.util.find_spec(module) is not None for module in extra.modules):
        return ""
    return (
        f"words {segmenter!r} need {extra.packages}, which is not installed; run pip install "
        f"'puna[{extra.name}]', or set words to {CHARACTERS}"
    )


@functools.cache
def segmenter(name: str) -> Cutter:
    """jieba or sudachi; StageError if it is not installed."""
    if problem := _missing(name):
        raise StageError(problem)
    return _jieba() if name == "jieba" else _sudachi()


_BEYOND_JIEBA = re.compile("([\u3400-\u4dbf\u9fd6-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f])")
"""Ideographs that are single words to jieba, which knows U+4E00 to U+9FD5, and none to rjieba."""

_RUNS = re.compile(r"([a-zA-Z0-9]+(?:\.[0-9]+)?%?)")
"""What jieba makes words of in text that its dictionary does not have."""


def _jieba() -> Cutter:
    import rjieba

    dictionary = rjieba.Jieba()
    cut = dictionary.cut

    def chunks(text: str) -> list[str]:
        if _BEYOND_JIEBA.search(text):
            return [chunk for part in _BEYOND_JIEBA.split(text) for chunk in cut(part)]
        return cut(text)

    def words(chunk: str) -> list[str]:
        chunk = chunk.strip()
        if chunk.isascii() and not chunk.isalnum() and not dictionary.has_word(chunk):
            return [run for run in _RUNS.split(chunk) if run]
        return [chunk] if chunk else []

    return Cutter(chunks, words)


MOST_CHARACTERS = 10_000
"""Of a text for SudachiPy, which takes 49,149 bytes of UTF-8; datatrove gives it 40,000."""

_BREAK = re.compile(r"[\n。！？]")


def _sudachi() -> Cutter:
    import sudachipy

    tokenizer = sudachipy.Dictionary(dict="core").tokenizer(sudachipy.SplitMode.A)

    def segment(text: str) -> list[str]:
        try:
            return [morpheme.surface() for morpheme in tokenizer.tokenize(text)]
        except sudachipy.errors.SudachiError:
            # It limits the text's length after normalisation too, and U+FDFA becomes 18 letters.
            if len(text) == 1:
                return [text]
            half = len(text) // 2
            return [*segment(text[:half]), *segment(text[half:])]

    def chunks(text: str) -> list[str]:
        if len(text) <= MOST_CHARACTERS:
            return segment(text)
        return [chunk for part in parts(text, MOST_CHARACTERS) for chunk in segment(part)]

    def words(chunk: str) -> list[str]:
        word = chunk.strip()
        return [word] if word else []

    return Cutter(chunks, words)


def parts(text: str, most: int) -> list[str]:
    """A text in parts of at most `most` characters, cut behind a line or sentence if there is one
    in the second half of the part.
    """
    found, start = [], 0
    while len(text) - start > most:
        end = start + most
        breaks = list(_BREAK.finditer(text, start + most // 2, end))
        end = breaks[-1].end() if breaks else end
        found.append(text[start:end])
        start = end
    found.append(text[start:])
    return found
