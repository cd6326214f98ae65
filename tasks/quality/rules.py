"""The quality rules: pure functions that measure a document, and the check against limits.

MEASURES maps every rule of the catalog to `measure(view, settings) -> float`. A document passes a
rule if the value lies within "min" and "max" of the settings; `Assessor.failures` returns the rules
that a text fails, with the values.

To add a rule: a measure here, an entry in MEASURES, and its limits in `catalog.DEFAULTS`.

Where the publications leave room: words are letters and digits without outer punctuation
(datatrove: spaCy's tokens), blank lines are not lines, and C4's rules that remove single lines
(javascript, policy) measure the share of such lines, because annotators never change text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from infra.ledger import UNDETERMINED
from tasks.quality.catalog import UNSPACED, Settings, settings_for
from tasks.quality.repetition import duplicates
from tasks.quality.view import UNSPACED_CHARACTER, View, looks_unspaced, words_of

Measure = Callable[[View, Settings], float]

BULLETS = ("•", "‣", "●", "◦", "▪", "·", "-", "*")
ELLIPSES = ("...", "…", "。。。")
TERMINAL_PUNCTUATION = (*".?!\"”’'", *"。！？」』…", *"؟۔।॥։።។")
POLICIES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
_ELLIPSIS = re.compile(r"\.{3,}|…+|。{3,}")
_SENTENCE_END = re.compile(r"[.!?؟۔।։።][\"'”’)\]]*(?=\s|$)|[。！？…]+[”’」』）]*")
_LETTER = re.compile(r"[^\W\d_]")
_LETTER_OR_SIGN = re.compile(f"[^\\W\\d_]|{UNSPACED_CHARACTER.pattern}")


class Failure(NamedTuple):
    """A rule that a document fails, and the value outside its limits."""

    rule: str
    value: float


class Assessor:
    """Applies rules with each language's settings, which are resolved once per language."""

    def __init__(
        self,
        rules: Sequence[str],
        overrides: Mapping[str, Mapping[str, Settings | None]] | None = None,
    ) -> None:
        self._rules = rules
        self._overrides = overrides or {}
        self._settings: dict[str, dict[str, Settings | None]] = {}

    def failures(self, text: str, language: str | None) -> list[Failure]:
        """The rules that a text fails, in the order of `rules`.

        A text of undetermined language is treated as Chinese if most of its letters belong to
        scripts written without spaces.
        """
        code = language or UNDETERMINED
        if code == UNDETERMINED and looks_unspaced(text):
            code = "zh"
        if code not in self._settings:
            self._settings[code] = settings_for(code, self._overrides)
        settings = self._settings[code]
        view = View(text, unspaced=code in UNSPACED)
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


def _share(hits: int, total: int) -> float:
    return hits / total if total else 0.0


def word_count(view: View, settings: Settings) -> float:
    """Number of words (of characters in an unspaced language)."""
    return len(view.words)


def mean_word_length(view: View, settings: Settings) -> float:
    """Characters per word; 0 without words."""
    return _share(sum(map(len, view.words)), len(view.words))


def symbol_ratio(view: View, settings: Settings) -> float:
    """Hash signs per word or ellipses per word, whichever is more; no words count as one word."""
    return max(view.text.count("#"), len(_ELLIPSIS.findall(view.text))) / max(len(view.words), 1)


def bullet_lines(view: View, settings: Settings) -> float:
    """Share of lines that start with a bullet."""
    return _share(sum(line.startswith(BULLETS) for line in view.lines), len(view.lines))


def ellipsis_lines(view: View, settings: Settings) -> float:
    """Share of lines that end in an ellipsis."""
    return _share(sum(line.endswith(ELLIPSES) for line in view.lines), len(view.lines))


def alphabetic_words(view: View, settings: Settings) -> float:
    """Share of whitespace-separated tokens (characters if unspaced) that contain a letter."""
    letter = _LETTER_OR_SIGN if view.unspaced else _LETTER
    lettered = sum(1 for token in view.tokens if token.isalpha() or letter.search(token))
    return _share(lettered, len(view.tokens))


def stop_words(view: View, settings: Settings) -> float:
    """How many different stop words (setting `words`) the document contains."""
    return len(set(settings["words"]).intersection(view.words))


def duplicate_lines(view: View, settings: Settings) -> float:
    """Share of lines that repeat an earlier one."""
    return duplicates(view.lines)[0]


def duplicate_paragraphs(view: View, settings: Settings) -> float:
    """Share of paragraphs that repeat an earlier one."""
    return duplicates(view.paragraphs)[0]


def duplicate_line_characters(view: View, settings: Settings) -> float:
    """Share of characters in lines that repeat an earlier one."""
    return _share(duplicates(view.lines)[1], sum(map(len, view.lines)))


def duplicate_paragraph_characters(view: View, settings: Settings) -> float:
    """Share of characters in paragraphs that repeat an earlier one."""
    return _share(duplicates(view.paragraphs)[1], sum(map(len, view.paragraphs)))


def top_n_gram(view: View, settings: Settings) -> float:
    """`NGrams.top_share` for n-grams of setting `length`."""
    return view.n_grams.top_share(int(settings["length"]))


def duplicate_n_grams(view: View, settings: Settings) -> float:
    """`NGrams.duplicate_share` for n-grams of setting `length`."""
    return view.n_grams.duplicate_share(int(settings["length"]))


def curly_bracket(view: View, settings: Settings) -> float:
    """Number of opening curly brackets."""
    return view.text.count("{")


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
    if not any(phrase in view.lower for phrase in POLICIES):
        return 0.0
    return _share(
        sum(any(phrase in line.lower() for phrase in POLICIES) for line in view.lines),
        len(view.lines),
    )


def sentences(view: View, settings: Settings) -> float:
    """Number of sentences in the lines that C4 would keep.

    Such a line ends in terminal punctuation (not an ellipsis) and has at least `line_words` words.
    """
    count = 0
    for line in view.lines:
        if not line.endswith(TERMINAL_PUNCTUATION) or line.endswith(("...", "……")):
            continue
        if len(words_of(line, view.unspaced)) >= settings["line_words"]:
            count += max(1, len(_SENTENCE_END.findall(line)))
    return count


def line_punctuation(view: View, settings: Settings) -> float:
    """Share of lines that end in terminal punctuation."""
    return _share(sum(line.endswith(TERMINAL_PUNCTUATION) for line in view.lines), len(view.lines))


def short_lines(view: View, settings: Settings) -> float:
    """Share of lines of at most `characters` characters; 1 without lines."""
    if not view.lines:
        return 1.0
    return _share(sum(len(line) <= settings["characters"] for line in view.lines), len(view.lines))


def newline_ratio(view: View, settings: Settings) -> float:
    """Newlines per word; no words count as one word."""
    return view.text.count("\n") / max(len(view.words), 1)


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
    "fineweb.duplicate_characters": duplicate_line_characters,
    "fineweb.newline_ratio": newline_ratio,
}
