"""Words as the quality rules count them, and what the rules ask of each.

FineWeb's limits were chosen with datatrove, which counts the tokens of spaCy's rule tokenizers. So
words here are those tokens, nearly (docs/quality.md): text is cut at white space, and each chunk is
cut as spaCy's documentation describes its tokenizer:

1. Marks before and after the chunk (quotes, brackets, commas, currency, "'s", a full stop unless it
   is an initial's) become words of their own, one by one, until an abbreviation or nothing but the
   core is left.
2. Contractions are cut before "n't", "'ll" and the like, French elisions behind their apostrophe.
3. The core is cut at hyphens and commas between letters, at slashes and colons before letters, at
   full stops between a small and a capital letter; an address stays whole.

Example: `(The well-known "U.S." shop's 1,000 sheep-dogs don't...` has the words ( The well - known
" U.S. " shop 's 1,000 sheep - dogs do n't ...

Chunks recur, so each is cut once (`Vocabulary`), and to the rules a document is an array of word
numbers. In a language written without spaces, each character of its script is a word, or what a
segmenter finds (`tasks.quality.segmenters`).
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tasks.quality.catalog import UNSPACED
from tasks.quality.segmenters import CHARACTERS, SEGMENTERS, Cutter, segmenter
from tasks.text.scripts import UNSPACED_CLASS

_QUOTES = "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧"
_LISTED = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_CURRENCY = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₸₹₺₻₼₾₿"
_ICON = "So"
"""Unicode's category of pictures, arrows and other symbols."""

_UNITS = (
    "km|km²|km³|m|m²|m³|dm|cm|mm|µm|nm|ha|yd|ft|in|kg|g|mg|µg|t|lb|oz|m/s|km/h|mph|hPa|Pa|mbar|mb|MB|"
    "kb|KB|gb|GB|tb|TB|T|G|M|K|%"
)
_ALPHA = r"[^\W\d_]"
_DOTS = r"\.\.+"
_PLAIN = re.compile(r"([^\W\d_]*[^\W\d_A-Z]{5,})([.,;:!?)])")
"""The commonest chunk by far that is not a word alone: longer than any abbreviation."""

_BEFORE = re.compile(
    rf"{_DOTS}|[§%=—–{re.escape(_QUOTES + _LISTED + _CURRENCY)}]|\+(?!\d)|(?:US|C|A)\$"
)
_AFTER = re.compile(
    rf"(?:{_DOTS}|[—–{re.escape(_QUOTES + _LISTED)}]|['’][sS]|(?<=\d)\+"
    rf"|(?<=\d)(?:[{re.escape(_CURRENCY)}]|{_UNITS})"
    rf"|(?<=[^\W_A-Z]|[%²\-+{re.escape(_QUOTES)})\]])\.|(?<=[A-Z][A-Z])\.)$"
)
_WITHIN_COMPOUNDS = re.compile(
    rf"{_DOTS}|…|(?<=[^\W\d_A-Z]|[\"'”’»])\.(?=[A-Z\"'“‘„«])|(?<={_ALPHA}),(?={_ALPHA})"
    rf"|(?<={_ALPHA})---?(?={_ALPHA})|(?<=[^\W_])[:<>=/](?={_ALPHA})"
)
_WITHIN = re.compile(
    rf"(?<=\d)[+\-*^](?=[\d-])|(?<=[^\W_])(?:---?|——|[-–—~])(?={_ALPHA})"
    rf"|{_WITHIN_COMPOUNDS.pattern}"
)
_WITHIN_FRENCH = re.compile(
    rf"(?<={_ALPHA})-(?:ce|elles?|ils?|je|là|moi|nous|on|t|vous)(?=-|$)|{_WITHIN.pattern}"
)
_ADDRESS = re.compile(
    r"(?:[Hh]ttps?|HTTPS?|ftp)://\S+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|(?:[\w-]+\.)+[a-z]{2,}(?::\d+)?(?:[/?#]\S*)?"
)
_CONTRACTED = re.compile(r"(.+)(n['’]t|['’](?:ll|re|ve|m|d))", re.I | re.S)
_WITHOUT_APOSTROPHE = re.compile(
    r"(ca|do|does|did|had|has|have|could|should|would|must|need|wo|was|were|is|are|ai)(nt)", re.I
)
_ELIDED = re.compile(r"((?:[cdjlmnst]|qu|jusqu|lorsqu|puisqu)['’])(?=\w)", re.I)
_ABBREVIATIONS = (
    "a.m. Adm. Apr. Aug. Bros. Co. Corp. D.C. Dec. Dr. e.g. Feb. Gen. Gov. i.e. Inc. Jan. Jr. Jul. "
    "Jun. Ltd. Mar. Messrs. Mr. Mrs. Ms. Nov. Oct. p.m. Ph.D. Prof. Rep. Rev. Sen. Sep. Sept. Sr. "
    "St. vs. and/or w/o"
)
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())
"""English abbreviations that keep their full stop."""

UNSPACED_CHARACTER = re.compile(f"[{UNSPACED_CLASS}]")
_UNSPACED_WORD = re.compile(
    rf"[{UNSPACED_CLASS}]|[^\W{UNSPACED_CLASS}]+(?:\.\d+)*|{_DOTS}|[-/|~@^\\]+|\S"
)

Style = Literal["english", "german", "french", "spanish", "other", "unspaced", "jieba", "sudachi"]
"""How text is cut. English has contractions and abbreviations. German and Spanish leave hyphens in
compounds (Corona-Test), and German the full stop at an ordinal (am 3. Mai). French keeps a pronoun
with its hyphen (dit -il). Unspaced text is cut into characters, or by a segmenter.
"""

STYLES: Mapping[str, Style] = {"en": "english", "de": "german", "fr": "french", "es": "spanish"}
WITHIN: Mapping[Style, re.Pattern[str]] = {
    "german": _WITHIN_COMPOUNDS,
    "spanish": _WITHIN_COMPOUNDS,
    "french": _WITHIN_FRENCH,
}

LETTERED, SYMBOLS = 1, 2
"""Bits of a word's kind: it has a letter; it has nothing but punctuation and symbols."""

MOST_CHUNKS = 1 << 18
"""A vocabulary that grew beyond this starts anew: about 100 MB."""


def style_of(language: str, words: str = CHARACTERS) -> Style:
    """How a language's text is cut; `words`: what the recipe chose for it."""
    if words == "jieba":
        return "jieba"
    if words == "sudachi":
        return "sudachi"
    return "unspaced" if language in UNSPACED else STYLES.get(language, "other")


def cutter(style: Style) -> Cutter:
    """The two steps from text to words."""
    if style in SEGMENTERS:
        return segmenter(style)
    if style == "unspaced":
        return Cutter(_UNSPACED_WORD.findall, lambda word: [word])
    return Cutter(str.split, functools.partial(words_of_chunk, style=style))


def words_of(text: str, style: Style = "english") -> list[str]:
    """The words of a text."""
    chunks, words = cutter(style)
    return [word for chunk in chunks(text) for word in words(chunk)]


def words_of_chunk(chunk: str, style: Style) -> list[str]:
    """The words of what stands between two spaces, in a language that has spaces."""
    if match := _PLAIN.fullmatch(chunk):
        return [match[1], match[2]]
    english = style == "english"
    if chunk.isalpha():
        match = _WITHOUT_APOSTROPHE.fullmatch(chunk) if english else None
        return [match[1], match[2]] if match else [chunk]
    abbreviations = ABBREVIATIONS if english else frozenset()
    before: list[str] = []
    after: list[str] = []
    core, uncut = chunk, ""
    while core and core != uncut and core not in abbreviations and not _ADDRESS.fullmatch(core):
        uncut = core
        if size := _mark_before(core):
            before.append(core[:size])
            core = core[size:]
        if core and core not in abbreviations and (size := _mark_after(core, style)):
            after.append(core[-size:])
            core = core[:-size]
    return [*before, *_core(core, style), *reversed(after)]


def _mark_before(core: str) -> int:
    """Characters of the mark that `core` begins with, 0 for none."""
    if match := _BEFORE.match(core):
        return match.end()
    return int(unicodedata.category(core[0]) == _ICON)


def _mark_after(core: str, style: Style) -> int:
    """Characters of the mark that `core` ends in, 0 for none."""
    if core.endswith("."):
        before = core[-2:-1]
        if before.isupper() and not core[-3:-2].isupper():
            return 0  # an initial
        if style == "german" and before.isdigit():
            return 0  # an ordinal
    if match := _AFTER.search(core):
        size = match.end() - match.start()
        return 0 if style == "german" and size == 2 and match[0][1] in "sS" else size
    return int(unicodedata.category(core[-1]) == _ICON)


def _core(core: str, style: Style) -> Iterator[str]:
    """What the marks around it leave of a chunk, cut within."""
    english = style == "english"
    if not core:
        return
    if _ADDRESS.fullmatch(core) or (english and core in ABBREVIATIONS):
        yield core
    elif english and (match := _CONTRACTED.fullmatch(core) or _WITHOUT_APOSTROPHE.fullmatch(core)):
        yield from _core(match[1], style)
        yield match[2]
    elif match := _ELIDED.match(core):
        yield match[1]
        yield from _core(core[match.end() :], style)
    else:
        done = 0
        for match in WITHIN.get(style, _WITHIN).finditer(core):
            if match.start() > done:
                yield core[done : match.start()]
            yield match[0]
            done = match.end()
        if done < len(core):
            yield core[done:]


def kind_of(word: str) -> int:
    """The bits of LETTERED and SYMBOLS."""
    if word.isalpha() or any(map(str.isalpha, word)):
        return LETTERED
    return 0 if any(unicodedata.category(c)[0] in "LNM" for c in word) else SYMBOLS


class _Numbers(dict[str, int]):
    """Chunk or word -> its number; a new one is told to `describe`."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._describe = vocabulary.describe

    def __missing__(self, chunk: str) -> int:
        self[chunk] = number = len(self)
        self._describe(chunk)
        return number


class Vocabulary:
    """The chunks met so far, and their words: numbers, lengths in characters, kinds.

    Arrays by chunk: where its words begin in `_flat`, and how many they are.
    """

    def __init__(self, style: Style = "english") -> None:
        self.style = style
        self._cut = cutter(style)
        self._clear()

    def _clear(self) -> None:
        self._chunks = _Numbers(self)
        self._words: dict[str, int] = {}
        self._strings: list[str] = []
        self._described: list[list[int]] = []
        self._first, self._count, self._flat = (_Growing(np.int64) for _ in range(3))
        self._lengths, self._kinds = _Growing(np.int64), _Growing(np.uint8)

    def describe(self, chunk: str) -> None:
        """Cut a new chunk, the next in number."""
        numbers = []
        for word in self._cut.words(chunk):
            if (number := self._words.get(word)) is None:
                self._words[word] = number = len(self._words)
                self._strings.append(word)
            numbers.append(number)
        self._described.append(numbers)

    def _enter_described(self) -> None:
        """Put the chunks since the last call, and their new words, into the arrays."""
        counts = np.fromiter(map(len, self._described), np.int64, len(self._described))
        self._first.extend(self._flat.size + np.cumsum(counts) - counts)
        self._count.extend(counts)
        self._flat.extend([word for words in self._described for word in words])
        self._described.clear()
        new = self._strings[self._lengths.size :]
        self._lengths.extend(list(map(len, new)))
        self._kinds.extend(list(map(kind_of, new)))

    def numbers(self, text: str) -> npt.NDArray[np.int64]:
        """The numbers of a document's words in order; those of the document before are void."""
        if len(self._chunks) > MOST_CHUNKS:
            self._clear()
        chunks = self._cut.chunks(text)
        ids = np.fromiter(map(self._chunks.__getitem__, chunks), np.int64, len(chunks))
        if self._described:
            self._enter_described()
        counts = self._count.values[ids]
        total = int(counts.sum())
        # Each word's place in `_flat`: its chunk's first place, plus its own place in the chunk.
        begins = np.cumsum(counts) - counts
        places = np.repeat(self._first.values[ids] - begins, counts) + np.arange(total)
        numbers: npt.NDArray[np.int64] = self._flat.values[places]
        return numbers

    def lengths(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Characters of each word."""
        lengths: npt.NDArray[np.int64] = self._lengths.values[numbers]
        return lengths

    def kinds(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Kind of each word."""
        kinds: npt.NDArray[np.uint8] = self._kinds.values[numbers]
        return kinds

    def different(self, numbers: npt.NDArray[np.int64]) -> list[str]:
        """The different words among these."""
        return [self._strings[number] for number in np.unique(numbers).tolist()]


class _Growing:
    """An array that grows at its end; `values` may be longer than `size`."""

    def __init__(self, kind: type) -> None:
        self.values: npt.NDArray[Any] = np.zeros(1 << 12, kind)
        self.size = 0

    def extend(self, values: npt.ArrayLike) -> None:
        added = np.asarray(values, self.values.dtype)
        end = self.size + len(added)
        if end > len(self.values):
            grown = np.zeros(max(end, 2 * len(self.values)), self.values.dtype)
            grown[: self.size] = self.values[: self.size]
            self.values = grown
        self.values[self.size : end] = added
        self.size = end
