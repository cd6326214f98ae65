"""The quality rules: pure functions that measure a document, and the check against limits.

MEASURES maps every rule of the catalog to `measure(view, settings) -> float`. A document passes a
rule if the value lies within "min" and "max" of the settings; `Assessor.failures` returns the rules
that a text fails, with the values.

To add a rule: a measure here, an entry in MEASURES, and its limits in `catalog.DEFAULTS`.

Limits mean little without the way of counting with which they were chosen. Where the publications
leave room, measures count as datatrove does, which made FineWeb and FineWeb-2: punctuation marks
are words, characters are those of the whole text, and C4's rules look at the lines that its code
(Raffel et al.; TensorFlow Datasets' `c4_utils`) looks at. What still differs is listed in
docs/quality.md, with how often it decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from infra.ledger import UNDETERMINED
from tasks.quality.catalog import LanguageSettings, Limits, Settings, WordLists, settings_for
from tasks.quality.segmenters import words_setting
from tasks.quality.view import View, looks_unspaced
from tasks.quality.words import LETTERED, Style, Vocabulary, style_of

Measure = Callable[[View, Settings], float]

BULLETS = ("•", "‣", "●", "◦", "▪", "·", "-", "*")
ELLIPSES = ("...", "…", "。。。")
SENTENCE_ENDS = (
    *".?!",
    *"։؝؞؟۔܀܁܂߹࠷࠹࠽࠾।॥၊။።፧፨᙮᜵᜶។៕៖៙៚᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᰻᰼᱾᱿",
    *"‼‽⁇⁈⁉⸮⸼。꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡",
)
"""Characters of Unicode's property Sentence_Terminal, basic plane, and Khmer's marks."""

POLICIES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
_BOUNDARY = re.compile(
    r"[.!?؟۔।։።](?:(?<![A-Z\s.].)(?<!\bM[rs].)(?<!\bMrs.)(?<!\bDr.)(?<!\bSt.)|(?<=[A-Z][A-Z].))"
    r"[\"'”’)\]]*\s+(?=[^\w\s]*[^\W_])"
)
"""Between two sentences of a line: not behind an initial, a title or an ellipsis."""

_UNSPACED_BOUNDARY = re.compile(r"[。！？!?][”’」』）]*(?=[^\W_])")
_POLICY = re.compile("|".join(POLICIES))


class Failure(NamedTuple):
    """A rule that a document fails, and the value outside its limits."""

    rule: str
    value: float


class Assessor:
    """Applies rules with each language's settings, which are resolved once per language."""

    def __init__(
        self,
        rules: Sequence[str],
        overrides: Mapping[str, LanguageSettings] | None = None,
        limits: Limits = "published",
        word_lists: WordLists | None = None,
    ) -> None:
        self._rules = rules
        self._overrides = overrides or {}
        self._limits: Limits = limits
        self._word_lists = word_lists or {}
        self._settings: dict[str, dict[str, Settings | None]] = {}
        self._vocabularies: dict[Style, Vocabulary] = {}

    def code(self, text: str, language: str | None) -> str:
        """The language whose settings apply to a text.

        A text of undetermined language is treated as Chinese if most of its letters belong to
        scripts written without spaces.
        """
        code = language or UNDETERMINED
        return "zh" if code == UNDETERMINED and looks_unspaced(text) else code

    def settings(self, code: str) -> Mapping[str, Settings | None]:
        """Rule -> its settings in a language; None for a rule that is off."""
        if code not in self._settings:
            self._settings[code] = settings_for(
                code, self._overrides, self._limits, self._word_lists
            )
        return self._settings[code]

    def measure(self, rule: str, text: str, language: str | None) -> float | None:
        """The value of one rule; None if it is off for the text's language."""
        code = self.code(text, language)
        limits = self.settings(code)[rule]
        return None if limits is None else float(MEASURES[rule](self._view(text, code), limits))

    def _view(self, text: str, code: str) -> View:
        style = style_of(code, words_setting(code, self._overrides))
        if style not in self._vocabularies:
            self._vocabularies[style] = Vocabulary(style)
        return View(text, self._vocabularies[style])

    def failures(self, text: str, language: str | None) -> list[Failure]:
        """The rules that a text fails, in the order of `rules`."""
        code = self.code(text, language)
        settings, view = self.settings(code), self._view(text, code)
        failed = []
        for rule in self._rules:
            limits = settings[rule]
            if limits is None:
                continue
            value = MEASURES[rule](view, limits)
            low, high = limits.get("min"), limits.get("max")
            if (low is not None and value < low) or (high is not None and value > high):
                failed.append(Failure(rule, float(value)))
        return failed


def _share(hits: float, total: float) -> float:
    return hits / total if total else 0.0


def word_count(view: View, settings: Settings) -> float:
    """Number of words that are more than punctuation."""
    return float(np.count_nonzero(view.proper_W))


def mean_word_length(view: View, settings: Settings) -> float:
    """Characters a word, of words that are more than punctuation; 0 without any."""
    proper = view.proper_W
    return _share(int(view.lengths_W[proper].sum()), int(np.count_nonzero(proper)))


def symbol_ratio(view: View, settings: Settings) -> float:
    """Hash signs per word or ellipses per word, whichever is more; no words count as one word."""
    ellipses = view.text.count("...") + view.text.count("…")
    return max(view.text.count("#"), ellipses) / max(len(view.numbers_W), 1)


def bullet_lines(view: View, settings: Settings) -> float:
    """Share of lines that start with a bullet."""
    return _share(sum(line.startswith(BULLETS) for line in view.lines), len(view.lines))


def ellipsis_lines(view: View, settings: Settings) -> float:
    """Share of lines that end in an ellipsis."""
    return _share(sum(line.endswith(ELLIPSES) for line in view.lines), len(view.lines))


def alphabetic_words(view: View, settings: Settings) -> float:
    """Share of words, punctuation too, that contain a letter."""
    return _share(int(np.count_nonzero(view.kinds_W & LETTERED)), len(view.numbers_W))


def stop_words(view: View, settings: Settings) -> float:
    """How many different stop words (setting `words`) the document contains."""
    return len(view.different_words.intersection(settings["words"]))


def duplicate_lines(view: View, settings: Settings) -> float:
    """Share of lines that repeat an earlier one."""
    return view.repeated_lines[0]


def duplicate_paragraphs(view: View, settings: Settings) -> float:
    """Share of paragraphs that repeat an earlier one."""
    return view.repeated_paragraphs[0]


def duplicate_line_characters(view: View, settings: Settings) -> float:
    """Share of the text's characters in lines that repeat an earlier one."""
    return _share(view.repeated_lines[1], len(view.text))


def duplicate_paragraph_characters(view: View, settings: Settings) -> float:
    """Share of the text's characters in paragraphs that repeat an earlier one."""
    return _share(view.repeated_paragraphs[1], len(view.text))


def top_n_gram(view: View, settings: Settings) -> float:
    """Share of the text's characters in the most frequent n-gram, n being setting `length`."""
    return _share(view.n_grams.top(int(settings["length"])), len(view.text))


def duplicate_n_grams(view: View, settings: Settings) -> float:
    """Share of the text's characters in repeated n-grams, n being setting `length`."""
    return _share(view.n_grams.duplicates(int(settings["length"])), len(view.text))


def curly_bracket(view: View, settings: Settings) -> float:
    """Number of opening curly brackets in lines that end like a sentence.

    C4's code looks at no others: lines of code and menus are left out before.
    """
    if "{" not in view.text:
        return 0.0
    return sum(line.count("{") for line in view.sentence_lines)


def lorem_ipsum(view: View, settings: Settings) -> float:
    """Occurrences of "lorem ipsum"."""
    return view.lower.count("lorem ipsum")


def javascript(view: View, settings: Settings) -> float:
    """Share of lines that mention JavaScript."""
    if "javascript" not in view.lower:
        return 0.0
    return _share(sum("javascript" in line.lower() for line in view.lines), len(view.lines))


def policy(view: View, settings: Settings) -> float:
    """Share of lines that mention cookies, terms of use or a privacy policy."""
    if not _POLICY.search(view.lower):
        return 0.0
    mentioning = sum(_POLICY.search(line.lower()) is not None for line in view.lines)
    return _share(mentioning, len(view.lines))


def sentences(view: View, settings: Settings) -> float:
    """Number of sentences in the lines that C4 would keep.

    Such a line ends like a sentence (not in an ellipsis), has at least `line_words` words between
    spaces (characters if unspaced), none of them over 1,000 characters, and mentions neither
    JavaScript nor policies.
    """
    warned = "javascript" in view.lower or _POLICY.search(view.lower) is not None
    boundary = _UNSPACED_BOUNDARY if view.unspaced else _BOUNDARY
    count = 0
    for line in view.sentence_lines:
        long_enough = len(line) if view.unspaced else len(words := line.split())
        if long_enough < settings["line_words"]:
            continue
        if len(line) > 1_000 and not view.unspaced and max(map(len, words)) > 1_000:
            continue
        if warned and ("javascript" in (lower := line.lower()) or _POLICY.search(lower)):
            continue
        count += 1 + len(boundary.findall(line))
    return count


def line_punctuation(view: View, settings: Settings) -> float:
    """Share of lines that end in a mark that ends sentences; quotation marks do not count."""
    return _share(sum(line.endswith(SENTENCE_ENDS) for line in view.lines), len(view.lines))


def short_lines(view: View, settings: Settings) -> float:
    """Share of lines of at most `characters` characters; 1 without lines."""
    if not view.lines:
        return 1.0
    return _share(sum(len(line) <= settings["characters"] for line in view.lines), len(view.lines))


def duplicate_characters(view: View, settings: Settings) -> float:
    """Share of the characters, without newlines, in lines that repeat an earlier one."""
    return _share(view.repeated_lines[1], len(view.text) - view.text.count("\n"))


def newline_ratio(view: View, settings: Settings) -> float:
    """Newlines per word; no words count as one word."""
    return view.text.count("\n") / max(len(view.numbers_W), 1)


def listed_words(view: View, settings: Settings) -> float:
    """How many different words of the language's list (setting `words`) the document contains."""
    return len(view.different_words & settings["words"])


MEASURES: Mapping[str, Measure] = {
    "gopher.word_count": word_count,
    "gopher.mean_word_length": mean_word_length,
    "gopher.symbol_ratio": symbol_ratio,
    "gopher.bullet_lines": bullet_lines,
    "gopher.ellipsis_lines": ellipsis_lines,
    "gopher.alphabetic_words": alphabetic_words,
    "gopher.stop_words": stop_words,
    "gopher.repetition.duplicate_lines": duplicate_lines,
    "gopher.repetition.duplicate_paragraphs": duplicate_paragraphs,
    "gopher.repetition.duplicate_line_characters": duplicate_line_characters,
    "gopher.repetition.duplicate_paragraph_characters": duplicate_paragraph_characters,
    **{f"gopher.repetition.top_{n}_gram": top_n_gram for n in (2, 3, 4)},
    **{f"gopher.repetition.duplicate_{n}_grams": duplicate_n_grams for n in range(5, 11)},
    "c4.curly_bracket": curly_bracket,
    "c4.lorem_ipsum": lorem_ipsum,
    "c4.javascript": javascript,
    "c4.policy": policy,
    "c4.sentences": sentences,
    "fineweb.line_punctuation": line_punctuation,
    "fineweb.short_lines": short_lines,
    "fineweb.duplicate_characters": duplicate_characters,
    "fineweb.newline_ratio": newline_ratio,
    "fineweb2.listed_words": listed_words,
}
