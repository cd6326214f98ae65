"""Stage quality: column `failed`, list<struct<rule: string, value: float64>>, beside the documents.

The list holds every rule of the recipe that a document fails, in the catalog's order, with the
measured value; an empty one means that it passes them all. What that leads to is the business of
`cut`. A document is its whole record: a prompt is its first lines, so that a question with an
answer of one word has the words of both. Input roles: documents, and langid where the source has it
(limits depend on the language). See `tasks.quality.catalog` for rules and limits.
"""

from __future__ import annotations

from typing import Any

import pydantic

from infra.stage import Output, Parameters, Stage
from tasks.documents.roles import DOCUMENTS, EDITS, columns_of
from tasks.quality.catalog import check_settings, expand

RuleSettings = dict[str, Any]


class QualityParameters(Parameters):
    """`rules`: groups (gopher, c4, fineweb) or single rules; `settings`: language (or "*") -> rule
    -> changed limits.

    `settings: {zh: {gopher.word_count: {min: 30}, gopher.stop_words: null}}` counts from 30
    characters on and switches stop words off for Chinese.
    """

    rules: tuple[str, ...] = pydantic.Field(default=("gopher", "c4"), min_length=1)
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
    summary="quality rules that fail",
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
