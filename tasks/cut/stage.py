"""Stage cut: which documents of every source are kept, in row-aligned columns; reads no text.

Checks apply in the order block, line_dedup, langid, quality, perplexity, decontaminate, category,
classifier; the first that a document fails is its `reason`. Perplexity cut-offs are percentiles per
language and language model (scores of different models are never mixed), over the documents of all
sources that pass the checks before, linearly interpolated as `numpy.percentile` does. With an
earlier cut in the role calibration, languages and models that it has cut-offs for keep these.

Of classifiers, thresholds apply first. Percentiles of a sampling curve are of a source's documents
in one language that pass all checks before and all thresholds; see `tasks.cut.scored`.

Input roles, each a tuple of artifacts named by source: documents, line_dedup, langid, quality,
perplexity, decontaminate; scores, named by source and classifier; and calibration (one cut).
Output: data/<source>/part-*.parquet, row-aligned with the documents, columns
    reason    string   null: eligible; else "block.domain.<list>" or "block.url.<list>" (its URL is
                       on a block list), "line_dedup.empty" (every line was a repeated one),
                       "langid.noise" (no language), "langid.language", "langid.script",
                       "langid.threshold", "quality.<rule>",
                       "perplexity.<bucket>", "decontaminate.<benchmark>", "category.none" (its
                       language has none), "category.missing" (its record has no text in the field
                       of categories), "category.unstated" (another one than those of the
                       recipe), "classifier.<name>" (its score), "classifier.<name>.unscored" (it
                       has none), "classifier.<name>.drawn" (a factor below 1 left it out)
    language  string   langid's label, "und" without one
    category  string   null where there is a reason
    bucket    string   head, middle, tail; "all" without a perplexity
    repeats   int32    how often training reads it in an epoch: 0 where there is a reason, else 1
                       or what a curve says
"""

from __future__ import annotations

from typing import Literal

import pydantic

from infra.stage import FilePaths, Output, Parameters, Role, Stage
from tasks.documents.categories import Category, categories_fed
from tasks.documents.keep import BucketKeep, LanguageKeep, RulesKeep
from tasks.documents.roles import ALL_DOCUMENTS, ALL_EDITS, columns_of
from tasks.documents.scoring import SourceClassifier
from tasks.documents.selected import RESERVED_FOLDERS


class BlockList(Parameters):
    """Documents to leave out by their URL: an opt-out list, or one of sites that nobody wants.

    `domains`: files with one domain a line, which blocks it and everything below; plain, as a hosts
    file, or Adblock's `||domain^`. `urls`: files with one URL a line, which blocks the page and all
    pages below it. See `tasks.cut.block_lists` for the formats. The contents of the files are part
    of the version of cut and of no stage before it, so that a newer list extracts nothing again.
    """

    domains: FilePaths = ()
    urls: FilePaths = ()

    @pydantic.field_validator("domains", "urls", mode="before")
    @classmethod
    def _one_path(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _has_files(self) -> BlockList:
        if not self.domains and not self.urls:
            raise ValueError("names no file; list files under domains, urls or both")
        return self


class SourceCut(Parameters):
    """The keeps of one source; an unset one keeps everything.

    `block`: lists by name that apply to this source alone; null takes it from a list of
    `CutParameters.block`.
    `category`: one for the source, language -> category, or a field of the records
    (`FieldCategory`, whose column ingest writes). Documents of other languages get the reason
    "category.none", as do all documents of a source without a category: a document that no
    training reads must not represent duplicates that training could read. `decontaminate`: `drop`
    contaminated documents; remove only the `passage`, which select does, but drop documents that
    would lose more than `passage_share` of their text (or all of it); or only `report` their
    number.
    """

    langid: LanguageKeep | None = None
    quality: RulesKeep | None = None
    perplexity: BucketKeep | None = None
    category: Category | None = None
    decontaminate: Literal["drop", "passage", "report"] = "drop"
    passage_share: float = pydantic.Field(default=0.5, gt=0.0, le=1.0)
    block: dict[str, BlockList | None] = pydantic.Field(default_factory=dict)
    classifiers: dict[str, SourceClassifier] = pydantic.Field(default_factory=dict)

    @pydantic.field_validator("category")
    @classmethod
    def _folder_names(cls, category: Category | None) -> Category | None:
        for name in categories_fed(category):
            if name in RESERVED_FOLDERS:
                raise ValueError(
                    f"category {name!r} becomes a folder beside the stage's own; avoid "
                    f"{' and '.join(RESERVED_FOLDERS)}"
                )
        return category


class CutParameters(Parameters):
    """Keeps by source, and the percentiles of perplexity that divide the buckets.

    Documents below percentile `head` are head, below `middle` middle (cc_net: 30, 60). `block`:
    lists by name that apply to every source.
    """

    sources: dict[str, SourceCut] = pydantic.Field(min_length=1)
    block: dict[str, BlockList] = pydantic.Field(default_factory=dict)
    head: float = pydantic.Field(default=30.0, ge=0.0, le=100.0)
    middle: float = pydantic.Field(default=60.0, ge=0.0, le=100.0)

    @pydantic.model_validator(mode="after")
    def _ascending(self) -> CutParameters:
        if self.head > self.middle:
            raise ValueError(
                f"head is percentile {self.head}, above middle's {self.middle}; set head to "
                "the lower of the two"
            )
        return self


STAGE = Stage(
    "cut",
    version=3,
    parameters=CutParameters,
    run="tasks.cut.run:run",
    summary="which documents the keeps leave, and why others are dropped",
    section="sources.*.*.keep",
    inputs=(
        ALL_DOCUMENTS,
        ALL_EDITS,
        columns_of("langid", many=True),
        columns_of("quality", many=True),
        columns_of("perplexity", many=True),
        columns_of("decontaminate", many=True),
        columns_of("scores", many=True),
        Role("calibration", ("cut",), optional=True),
    ),
    outputs=(
        Output(
            "*/part-*.parquet",
            "one folder per source, row-aligned with its documents; `reason` is null for those "
            "that stay",
            {
                "reason": "string",
                "language": "string",
                "category": "string",
                "bucket": "string",
                "repeats": "int32",
            },
        ),
    ),
)
