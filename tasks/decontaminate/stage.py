"""Stage decontaminate: its parameters, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import pydantic

from infra.stage import Output, Parameters, Stage
from tasks.benchmarks.model import Benchmark, BenchmarkFiles
from tasks.documents.roles import DOCUMENTS, EDITS, EDITS_TYPE


class DecontaminateParameters(Parameters):
    """What counts as contamination; the rules are in `tasks.decontaminate.grams`.

    `against`: name -> benchmark (prompts, shots and limits of a `Benchmark` are dropped: all its
    items count). `ngram` consecutive words or, for questions mostly in scripts without spaces,
    `character_ngram` characters mark a document. Shorter questions count as a whole, from
    `minimum_words` or `minimum_characters` on; still shorter ones, and whole questions that are
    templates, count together with their choices. An n-gram in more than `template_items` items of a
    benchmark is a template ("Which of the following is the best example of ...") and marks nothing.
    `passage_margin`: where only the passage is removed, the characters removed on both sides of the
    common words and the choices that follow them.
    """

    against: dict[str, BenchmarkFiles]
    ngram: int = pydantic.Field(13, ge=2)
    character_ngram: int = pydantic.Field(20, ge=2)
    minimum_words: int = pydantic.Field(8, ge=1)
    minimum_characters: int = pydantic.Field(12, ge=1)
    template_items: int = pydantic.Field(2, ge=1)
    passage_margin: int = pydantic.Field(200, ge=0)

    @pydantic.field_validator("against", mode="before")
    @classmethod
    def _files_only(cls, against: Any) -> Any:
        """Drop what only evaluation uses, so that a changed prompt does not change the version."""
        if not isinstance(against, Mapping):
            return against
        return {
            name: item.files() if isinstance(item, Benchmark) else item
            for name, item in against.items()
        }

    @pydantic.model_validator(mode="after")
    def _minimum_within(self) -> Self:
        for unit, minimum, whole in (
            ("words", self.minimum_words, self.ngram),
            ("characters", self.minimum_characters, self.character_ngram),
        ):
            if minimum > whole:
                raise ValueError(
                    f"minimum_{unit} is {minimum}, more than the n-gram's {whole}; lower it"
                )
        return self


STAGE = Stage(
    "decontaminate",
    version=4,
    parameters=DecontaminateParameters,
    run="tasks.decontaminate.run:run",
    check="tasks.decontaminate.check:faults",
    summary="n-gram overlap of every document with every question of the benchmarks",
    section="decontaminate",
    inputs=(DOCUMENTS, EDITS),
    outputs=(
        Output(
            "part-*.parquet",
            "row-aligned with the documents",
            {
                "contaminated": "list<element: struct<benchmark: string, item: string, "
                "overlap: string, words: int32, start: int64, end: int64>>",
                "edits": EDITS_TYPE,
                "passage_share": "double",
            },
        ),
    ),
    compiles=("tasks.text.shingle_kernel", "tasks.text.ngram_kernel"),
)
