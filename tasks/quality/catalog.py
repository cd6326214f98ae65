"""The quality rules by name, their limits, and how the limits change with the language.

A rule is `group.name`; a dotted prefix ("gopher", "gopher.repetition") names all rules below it.
The limits are the published ones, for English text with words separated by spaces:

- Gopher: Rae et al. 2021, arXiv 2112.11446, section A1.
- C4: Raffel et al. 2020, section 2.2, JMLR version: 3 sentences in lines of 5 words (datatrove
  follows the first preprint: 5 sentences, 3 words).
- FineWeb: Penedo et al. 2024, with the defaults of datatrove 0.10.
- FineWeb-2: Penedo et al. 2025, arXiv 2506.20920: the same rules with limits for each language
  (`tasks.quality.fineweb2`, taken where the recipe says `limits: fineweb2`), and the word lists
  with which it kept languages apart (rule `fineweb2.listed_words`).

For languages written without spaces (UNSPACED), characters are counted where the publications count
words, and limits on words are multiplied by characters per word: 1.5 for Chinese and Japanese, 4
for Thai, Lao, Khmer and Burmese. Mean word length is meaningless there and is off. Where the recipe
chooses a segmenter (`tasks.quality.segmenters`), limits on words stay as they are; only the two on
the length of a line remain in characters. Stop words come from STOP_WORDS; for a language without
an entry the rule is off, because English stop words would drop every document.

Imports neither NumPy nor a segmenter, so that recipes are checked at once.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from tasks.quality import fineweb2
from tasks.quality.segmenters import CHARACTERS, WORDS, words_setting

Settings = Mapping[str, Any]
"""Settings of one rule: "min" and "max" (inclusive limits, None for no limit), and its extras."""

LanguageSettings = Mapping[str, Settings | str | None]
"""What a recipe sets for one language: rule -> changed limits, and perhaps its `words`."""

Limits = Literal["published", "fineweb2"]
"""Whose limits hold where the recipe states none: the publications', or FineWeb-2's for the
languages that it has.
"""

WordLists = Mapping[str, frozenset[str]]
"""Language -> the words of its list, for rule `fineweb2.listed_words`."""

LISTED_WORDS = "fineweb2.listed_words"

EVERY_LANGUAGE = "*"
"""Key of settings for every language; settings for a single language override them."""

DEFAULTS: Mapping[str, Settings] = {
    "gopher.word_count": {"min": 50, "max": 100_000},
    "gopher.mean_word_length": {"min": 3, "max": 10},
    "gopher.symbol_ratio": {"max": 0.1},
    "gopher.bullet_lines": {"max": 0.9},
    "gopher.ellipsis_lines": {"max": 0.3},
    "gopher.alphabetic_words": {"min": 0.8},
    "gopher.stop_words": {"min": 2, "words": ()},
    "gopher.repetition.duplicate_lines": {"max": 0.30},
    "gopher.repetition.duplicate_paragraphs": {"max": 0.30},
    "gopher.repetition.duplicate_line_characters": {"max": 0.20},
    "gopher.repetition.duplicate_paragraph_characters": {"max": 0.20},
    "gopher.repetition.top_2_gram": {"max": 0.20, "length": 2},
    "gopher.repetition.top_3_gram": {"max": 0.18, "length": 3},
    "gopher.repetition.top_4_gram": {"max": 0.16, "length": 4},
    "gopher.repetition.duplicate_5_grams": {"max": 0.15, "length": 5},
    "gopher.repetition.duplicate_6_grams": {"max": 0.14, "length": 6},
    "gopher.repetition.duplicate_7_grams": {"max": 0.13, "length": 7},
    "gopher.repetition.duplicate_8_grams": {"max": 0.12, "length": 8},
    "gopher.repetition.duplicate_9_grams": {"max": 0.11, "length": 9},
    "gopher.repetition.duplicate_10_grams": {"max": 0.10, "length": 10},
    "c4.curly_bracket": {"max": 0},
    "c4.lorem_ipsum": {"max": 0},
    "c4.javascript": {"max": 0.1},
    "c4.policy": {"max": 0.1},
    "c4.sentences": {"min": 3, "line_words": 5},
    "fineweb.line_punctuation": {"min": 0.12},
    "fineweb.short_lines": {"max": 0.67, "characters": 30},
    "fineweb.duplicate_characters": {"max": 0.01},
    "fineweb.newline_ratio": {"max": 0.3},
    LISTED_WORDS: {"min": 1},
}
RULES = tuple(DEFAULTS)

UNSPACED = {
    "zh": 1.5,
    "ja": 1.5,
    "wuu": 1.5,
    "yue": 1.5,
    "th": 4.0,
    "lo": 4.0,
    "km": 4.0,
    "my": 4.0,
}
"""Language written without spaces -> characters equivalent to one English word."""

STOP_WORDS: Mapping[str, str] = {
    "en": "the be to of and that have with",
    "de": "der die das und ist nicht mit von zu den ein",
    "fr": "le la les de et est que des un une dans",
    "es": "el la los de y que en un una por con",
    "it": "il la di e che un una per non con sono",
    "pt": "o a os de e que um uma para não com",
    "nl": "de het een en van is dat niet met op",
    "sv": "och att det som en är av för med inte",
    "da": "og at det som en er af for med ikke",
    "no": "og at det som en er av for med ikke",
    "pl": "i w na z nie się do że to jest",
    "cs": "a v na se je že to s z do",
    "ru": "и в не на что с по это как он",
    "uk": "і в не на що з до це як він",
    "tr": "bir ve bu için ile de da çok ne daha",
    "vi": "và của là có không được cho trong một các",
    "id": "yang dan di dari untuk dengan ini itu tidak pada",
    "zh": "的 了 是 在 不 和 有 我 这 這 一 他 人 与 也",
    "yue": "嘅 係 唔 的 是 在 不 和 有 我 一",
    "wuu": "个 是 勿 的 在 不 和 有 我 一",
    "ar": "في من على إلى أن هو هي ما عن مع هذا لا",
    "ja": "の に は を た が で て と し れ さ",
}
"""Frequent function words by language; Gopher's rule asks for at least two different ones."""

SHORT_WORDS = ("ko", "vi")
"""Spaced languages with short words (Korean) or syllables (Vietnamese).

Their minimum mean word length is 2 characters.
"""


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint for an unknown name: the nearest known names, else all of them."""
    options = sorted(known)
    near = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    return (
        f"did you mean {' or '.join(map(repr, near))}?"
        if near
        else f"choose from {', '.join(options)}"
    )


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """Expand rule and group names to rules, in catalog order; ValueError on an unknown name."""
    chosen: set[str] = set()
    for name in names:
        members = [rule for rule in RULES if rule == name or rule.startswith(f"{name}.")]
        if not members:
            raise ValueError(
                f"no quality rule or group is named {name!r}; {nearest(name, _known_names())}"
            )
        chosen.update(members)
    return tuple(rule for rule in RULES if rule in chosen)


def _known_names() -> set[str]:
    return {
        ".".join(rule.split(".")[:depth])
        for rule in RULES
        for depth in range(1, rule.count(".") + 2)
    }


def check_settings(language: str, rule: str, settings: Settings | str | None) -> None:
    """Check a recipe's settings of one rule; ValueError on an unknown name or a bad value."""
    if rule not in DEFAULTS:
        raise ValueError(
            f"settings of {language!r}: no quality rule is named {rule!r}; "
            f"{nearest(rule, (*RULES, WORDS))}"
        )
    if isinstance(settings, str):
        raise ValueError(
            f"settings of {language!r}, {rule}: limits are a mapping such as {{min: 30}}, or null "
            f"for none, not {settings!r}"
        )
    for key, value in (settings or {}).items():
        known = {"min", "max", *DEFAULTS[rule]}
        if key not in known:
            raise ValueError(
                f"settings of {language!r}, {rule}: unknown key {key!r}; {nearest(key, known)}"
            )
        if key == "words":
            if isinstance(value, str) or not all(isinstance(word, str) and word for word in value):
                raise ValueError(
                    f"settings of {language!r}, {rule}: 'words' must be a list of non-empty "
                    f"strings, not {value!r}"
                )
        elif value is None and key in ("min", "max"):
            continue
        elif (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
            or value < 0
        ):
            raise ValueError(
                f"settings of {language!r}, {rule}: {key!r} must be a finite number of at least 0, "
                f"not {value!r}"
            )


def settings_for(
    language: str,
    overrides: Mapping[str, LanguageSettings],
    limits: Limits = "published",
    word_lists: WordLists | None = None,
) -> dict[str, Settings | None]:
    """Rule -> its settings for a language; None turns a rule off: every document passes.

    Later layers override earlier ones: the catalog, the catalog's changes for the language,
    FineWeb-2's limits if `limits` says so, the recipe's settings for "*", the recipe's settings for
    the language. The rule on listed words is off in a language without a list.
    """
    resolved: dict[str, Settings | None] = {
        rule: dict(settings) for rule, settings in DEFAULTS.items()
    }
    characters = words_setting(language, overrides) == CHARACTERS
    layers: tuple[LanguageSettings, ...] = (
        _of_language(language, characters),
        _of_fineweb2(language, characters) if limits == "fineweb2" else {},
        overrides.get(EVERY_LANGUAGE, {}),
        overrides.get(language, {}),
    )
    for layer in layers:
        for rule, changes in layer.items():
            if isinstance(changes, str):
                continue
            resolved[rule] = (
                None if changes is None else {**(resolved[rule] or DEFAULTS[rule]), **changes}
            )
    listed = (word_lists or {}).get(language)
    limit = resolved[LISTED_WORDS]
    resolved[LISTED_WORDS] = {**limit, "words": listed} if listed and limit is not None else None
    return resolved


def _of_fineweb2(language: str, characters: bool) -> dict[str, Settings | None]:
    changes: dict[str, Settings | None] = dict(fineweb2.limits(language))
    if (scale := UNSPACED.get(language)) and characters:
        changes.pop("gopher.mean_word_length", None)
        if newlines := changes.get("fineweb.newline_ratio"):
            changes["fineweb.newline_ratio"] = {"max": newlines["max"] / scale}
        # n-grams of as many characters as FineWeb-2 counts words: with more, fewer of the documents
        # that it drops are dropped (docs/quality.md).
        for rule, settings in DEFAULTS.items():
            if rule in changes and "length" in settings:
                changes[rule] = {**(changes[rule] or {}), "length": settings["length"]}
        if lettered := changes.get("gopher.alphabetic_words"):
            # A word becomes `scale` characters, a punctuation mark stays one.
            letters = scale * lettered["min"]
            changes["gopher.alphabetic_words"] = {
                "min": round(letters / (letters + 1 - lettered["min"]), 3)
            }
    return changes


def _of_language(language: str, characters: bool) -> dict[str, Settings | None]:
    words = tuple(STOP_WORDS.get(language, "").split())
    changes: dict[str, Settings | None] = {"gopher.stop_words": {"words": words} if words else None}
    if language != "en":
        # Punctuation marks count as words without a letter, and others use more of them:
        # FineWeb-2 fitted 0.71 for Russian to 0.83 for Spanish.
        changes["gopher.alphabetic_words"] = {"min": 0.7}
    if language in SHORT_WORDS:
        changes["gopher.mean_word_length"] = {"min": 2}
    if scale := UNSPACED.get(language):
        changes |= {rule: _scaled(rule, scale) for rule in _OF_LINES}
        if not characters:
            # FineWeb-2 fitted 1 to 5 characters for Chinese, 1 to 6 for Japanese.
            changes["gopher.mean_word_length"] = {"min": 1}
            return changes
        changes |= {rule: _scaled(rule, scale) for rule in _OF_WORDS}
        changes["gopher.mean_word_length"] = None
        # A share of characters here, and each punctuation mark counts as one.
        changes["gopher.alphabetic_words"] = {"min": 0.6}
        for rule, settings in DEFAULTS.items():
            if rule.startswith("gopher.repetition.") and "length" in settings:
                changes[rule] = {"length": round(settings["length"] * scale)}
    return changes


_OF_LINES = ("c4.sentences", "fineweb.short_lines")
"""Rules on how long a line is, which is told in characters where there are no spaces."""

_OF_WORDS = ("gopher.word_count", "fineweb.newline_ratio")


def _scaled(rule: str, scale: float) -> Settings:
    settings = DEFAULTS[rule]
    match rule:
        case "gopher.word_count":
            return {"min": round(settings["min"] * scale), "max": round(settings["max"] * scale)}
        case "c4.sentences":
            return {"line_words": round(settings["line_words"] * scale)}
        case "fineweb.short_lines":  # 30 characters of English are about 5 words
            return {"characters": round(5 * scale)}
        case _:
            return {"max": settings["max"] / scale}
