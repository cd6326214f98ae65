"""Stage quality: column `failed`, list<struct<rule: string, value: float64>>, a row per document.

The list names every rule of the recipe that a document fails, in catalog order, with the measured
value; an empty list means that it passes them all. Stage `cut` decides which documents to drop.
The whole record is measured, prompt first, so that a question with a one-word answer has the words
of both. Limits depend on the language, taken from langid if the source has it. See
`tasks.quality.catalog` for rules and limits.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

import pydantic

from infra.stage import FILE, Output, Parameters, Stage
from tasks.documents.roles import DOCUMENTS, EDITS, columns_of
from tasks.quality.catalog import LISTED_WORDS, Limits, check_settings, expand
from tasks.quality.segmenters import WORDS, check_words

RuleSettings = dict[str, Any]


class QualityParameters(Parameters):
    """Which rules are applied, with which limits.

    `rules`: groups (gopher, c4, fineweb, fineweb2) or single rules. `limits: fineweb2` takes
    FineWeb-2's limits for Arabic, Chinese, French, German, Japanese, Russian and Spanish, where
    `published` has those for English in every language. `word_lists`: a file or folder of lists for
    the rule `fineweb2.listed_words`, a word a line, named after their language as FineWeb-2 does
    (`deu_Latn.txt`) or as langid does (`de.txt`). `settings`: language (or "*") -> rule ->
    changed limits; null turns a rule off. For Chinese, this sets the minimum to 30 characters and
    turns the stop-word rule off:
    `settings: {zh: {gopher.word_count: {min: 30}, gopher.stop_words: null}}`. Chinese and Japanese
    are counted in characters, and limits on words converted. `settings: {zh: {words: jieba},
    ja: {words: sudachi}}` counts words as datatrove does, with limits as published (pip install
    'puna[jieba,sudachi]').
    """

    rules: tuple[str, ...] = pydantic.Field(
        default=("gopher", "c4"), min_length=1, validate_default=True
    )
    limits: Limits = "published"
    word_lists: Annotated[str | None, FILE] = None
    settings: dict[str, dict[str, RuleSettings | str | None]] = pydantic.Field(default_factory=dict)

    @pydantic.field_validator("rules")
    @classmethod
    def _expand(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        return expand(rules)

    @pydantic.field_validator("settings")
    @classmethod
    def _check(
        cls, settings: dict[str, dict[str, RuleSettings | str | None]]
    ) -> dict[str, dict[str, RuleSettings | str | None]]:
        for language, given in settings.items():
            for key, value in given.items():
                if key == WORDS:
                    check_words(language, value)
                else:
                    check_settings(language, key, value)
        return settings

    @pydantic.model_validator(mode="after")
    def _lists_for_their_rule(self) -> Self:
        if (self.word_lists is not None) != (LISTED_WORDS in self.rules):
            raise ValueError(
                f"rule {LISTED_WORDS!r} and word_lists need each other; "
                + (
                    f"add {LISTED_WORDS!r} to rules, or remove word_lists"
                    if self.word_lists
                    else "name a file or folder in word_lists, or remove the rule"
                )
            )
        return self


STAGE = Stage(
    "quality",
    version=3,
    parameters=QualityParameters,
    run="tasks.quality.run:run",
    summary="the quality rules that each document fails",
    section="sources.*.quality",
    inputs=(DOCUMENTS, EDITS, columns_of("langid")),
    outputs=(
        Output(
            "part-*.parquet",
            "row-aligned with the documents",
            {"failed": "list<element: struct<rule: string, value: double>>"},
        ),
    ),
    compiles=("tasks.quality.repetition_kernel",),
)
