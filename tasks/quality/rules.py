"""The quality rules: pure functions from a view of a document to the value that a limit is set on.

MEASURES maps every rule of the catalog to `measure(view, settings) -> float`. A document passes a
rule when the value lies within the settings' "min" and "max"; `failures` gives all rules that a
text fails, with their values.

Where the publications leave room: words are letters and digits without outer punctuation
(datatrove: spaCy's tokens), lines are the non-blank ones, and C4's rules that remove single lines
(javascript, policies) measure the share of such lines, since annotators never change text.
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
    """One rule that a document fails, and the value that lies beyond its limits."""

    rule: str
    value: float


class Assessor:
    """Applies rules with the settings of each document's language, resolved once per language."""

    def __init__(
        self,
        rules: Sequence[str],
        overrides: Mapping[str, Mapping[str, Settings | None]] | None = None,
    ) -> None:
        self._rules = rules
        self._overrides = overrides or {}
        self._settings: dict[str, dict[str, Settings | None]] = {}

    def failures(self, text: str, language: str | None) -> list[Failure]:
        """The failed rules of one text, in the order of the rules.

        Text of undetermined language is taken for Chinese where most of its letters are of scripts
        without spaces.
        """
        code = language or UNDETERMINED
        if code == UNDETERMINED and looks_unspaced(text):
            code = "zh"
        if code not in self._settings:
            self._settings[code] = settings_for(code, self._overrides)
        settings = self._settings[code]
        view = View(text, unspaced=code in UNSPACED)
        found = []
        for rule in self._rules:
            limits = settings[rule]
            if limits is None:
                continue
            value = MEASURES[rule](view, limits)
            low, high = limits.get("min"), limits.get("max")
            if (low is not None and value < low) or (high is not None and value > high):
                found.append(Failure(rule, float(value)))
        return found


def _share(hits: int, of: int) -> float:
    return hits / of if of else 0.0


def word_count(view: View, settings: Settings) -> float:
    """Words (characters of an unspaced language)."""
    return len(view.words)


def mean_word_length(view: View, settings: Settings) -> float:
    """Characters per word; 0 of a document without words."""
    return _share(sum(map(len, view.words)), len(view.words))


def symbol_ratio(view: View, settings: Settings) -> float:
    """Hash signs per word, or ellipses per word, whichever is more. A document without words counts
    as one word.
    """
    return max(view.text.count("#"), len(_ELLIPSIS.findall(view.text))) / max(len(view.words), 1)


def bullet_lines(view: View, settings: Settings) -> float:
    """Share of lines that start with a bullet."""
    return _share(sum(line.startswith(BULLETS) for line in view.lines), len(view.lines))


def ellipsis_lines(view: View, settings: Settings) -> float:
    """Share of lines that end in an ellipsis."""
    return _share(sum(line.endswith(ELLIPSES) for line in view.lines), len(view.lines))


def alphabetic_words(view: View, settings: Settings) -> float:
    """Share of what stands between spaces that holds a letter; of an unspaced language, of
    characters.
    """
    letter = _LETTER_OR_SIGN if view.unspaced else _LETTER
    lettered = sum(1 for token in view.tokens if token.isalpha() or letter.search(token))
    return _share(lettered, len(view.tokens))


def stop_words(view: View, settings: Settings) -> float:
    """Different words of the settings' `words` that the document holds."""
    return len(set(settings["words"]).intersection(view.words))


def duplicate_lines(view: View, settings: Settings) -> float:
    """Share of lines that repeat an earlier one."""
    return duplicates(view.lines)[0]


def duplicate_paragraphs(view: View, settings: Settings) -> float:
    """Share of paragraphs that repeat an earlier one."""
    return duplicates(view.paragraphs)[0]


def duplicate_line_characters(view: View, settings: Settings) -> float:
    """Characters of repeated lines over those of all lines."""
    return _share(duplicates(view.lines)[1], sum(map(len, view.lines)))


def duplicate_paragraph_characters(view: View, settings: Settings) -> float:
    """Characters of repeated paragraphs over those of all paragraphs."""
    return _share(duplicates(view.paragraphs)[1], sum(map(len, view.paragraphs)))


def top_n_gram(view: View, settings: Settings) -> float:
    """See `tasks.quality.repetition.NGrams.top_share`; n is the settings' `length`."""
    return view.n_grams.top_share(int(settings["length"]))


def duplicate_n_grams(view: View, settings: Settings) -> float:
    """See `tasks.quality.repetition.NGrams.duplicate_share`; n is the settings' `length`."""
    return view.n_grams.duplicate_share(int(settings["length"]))


def curly_bracket(view: View, settings: Settings) -> float:
    """Opening curly brackets."""
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
    """Share of lines that speak of cookies, terms or privacy."""
    if not any(phrase in view.lower for phrase in POLICIES):
        return 0.0
    return _share(
        sum(any(phrase in line.lower() for phrase in POLICIES) for line in view.lines),
        len(view.lines),
    )


def sentences(view: View, settings: Settings) -> float:
    """Sentences in the lines C4 would keep: they end in a terminal mark (no ellipsis) and have
    `line_words` words.
    """
    count = 0
    for line in view.lines:
        if not line.endswith(TERMINAL_PUNCTUATION) or line.endswith(("...", "……")):
            continue
        if len(words_of(line, view.unspaced)) >= settings["line_words"]:
            count += max(1, len(_SENTENCE_END.findall(line)))
    return count


def line_punctuation(view: View, settings: Settings) -> float:
    """Share of lines that end in a terminal mark."""
    return _share(sum(line.endswith(TERMINAL_PUNCTUATION) for line in view.lines), len(view.lines))


def short_lines(view: View, settings: Settings) -> float:
    """Share of lines of at most `characters` characters; 1 of a document without lines."""
    if not view.lines:
        return 1.0
    return _share(sum(len(line) <= settings["characters"] for line in view.lines), len(view.lines))


def newline_ratio(view: View, settings: Settings) -> float:
    """Newlines per word. A document without words counts as one word."""
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
