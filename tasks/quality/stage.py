"""Stage quality: column `failed`, list<struct<rule: string, value: float64>>, a row per document.

The list names every rule of the recipe that a document fails, in catalog order, with the measured
value; an empty list means that it passes them all. Stage `cut` decides which documents to drop.
The whole record is measured, prompt first, so that a question with a one-word answer has the words
of both. Limits depend on the language, taken from langid if the source has it. See
`tasks.quality.catalog` for rules and limits.
"""

from __future__ import annotations

from typing import Any

import pydantic

from infra.stage import Output, Parameters, Stage
from tasks.documents.roles import DOCUMENTS, EDITS, columns_of
from tasks.quality.catalog import check_settings, expand

RuleSettings = dict[str, Any]


class QualityParameters(Parameters):
    """Which rules are applied, with which limits.

    `rules`: groups (gopher, c4, fineweb) or single rules. `settings`: language (or "*") -> rule ->
    changed limits; null turns a rule off. For Chinese, this sets the minimum to 30 characters and
    turns the stop-word rule off:
    `settings: {zh: {gopher.word_count: {min: 30}, gopher.stop_words: null}}`
    """

    rules: tuple[str, ...] = pydantic.Field(
        default=("gopher", "c4"), min_length=1, validate_default=True
    )
    settings: dict[str, dict[str, RuleSettings | None]] = pydantic.Field(default_factory=dict)

    @pydantic.field_validator("rules")
    @classmethod
    def _expand(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        return expand(rules)

    @pydantic.field_validator("settings")
    @classmethod
    def _check(
        cls, settings: dict[str, dict[str, RuleSettings | None]]
    ) -> dict[str, dict[str, RuleSettings | None]]:
        for language, rules in settings.items():
            for rule, values in rules.items():
                check_settings(language, rule, values)
        return settings


STAGE = Stage(
    "quality",
    version=2,
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
)
