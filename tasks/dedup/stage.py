"""Deduplication over all sources and earlier crawls: exact, and verified near duplicates.

See docs/dedup.md for the definition, the algorithm and its cost.

Input roles: cut (one), documents and signatures (of every source), line_dedup (of every source
whose edits applied when signatures were computed: gates show texts as they were compared), the
annotations that `prefer` names (by stage), and history (select artifacts of earlier crawls, the
earliest first).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from infra.quantities import Bytes
from infra.stage import NOT_IDENTITY, Parameters, Role, Stage
from tasks.documents.roles import ALL_DOCUMENTS, ALL_EDITS, columns_of
from tasks.duplicates.outputs import outputs_of_election
from tasks.duplicates.preferences import PREFERENCES, Limits


class Gates(Limits):
    """Limits beyond which the stage stops (`GateError`) unless `dedup.accept` is true."""

    saturated_band: int | None = Field(
        default=100_000,
        ge=2,
        description="different texts that may agree in one band; null: no limit",
    )


class DedupParameters(Parameters):
    """Parameters of dedup; `shingle`, `bands` and `rows` must be those of the signatures."""

    shingle: int = Field(default=5, ge=1, le=100, description="words of a shingle")
    bands: int = Field(
        default=14,
        ge=1,
        le=1_000,
        description="documents that agree in all rows of a band are compared",
    )
    rows: int = Field(default=8, ge=1, le=1_000, description="MinHash values in a band")
    verify: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Jaccard similarity of shingle sets from which a document is a duplicate",
    )
    prefer: tuple[str, ...] = Field(
        default=("-perplexity", "length"),
        description="which of two duplicates stays: columns in order of weight, '-' for lower is "
        "better; documents without a value come last, ties go to the smaller id",
    )
    crawls: tuple[tuple[str, ...], ...] = Field(
        default=(),
        description="sources by crawl, the earlier first: an earlier crawl's document stays "
        "whatever `prefer` says; sources that are not named come last, together",
    )
    history: Annotated[tuple[str, ...], NOT_IDENTITY] = Field(
        default=(),
        description="select artifacts of earlier recipes, the earliest first, whose documents "
        "stay: artifact:RECIPE/select/NAME@TAG",
    )  # the artifacts themselves are inputs, which a version holds
    memory: Annotated[Bytes, NOT_IDENTITY] = Field(
        default=1_000_000_000,
        ge=10_000_000,
        description="bytes that deduplication may take in all processes together, beyond the 0.2 "
        "GB that a process of Python and its libraries takes by itself",
    )
    gates: Gates = Gates()
    accept: bool = Field(default=False, description="continue if a gate's limit is exceeded")

    @field_validator("prefer")
    @classmethod
    def _known(cls, prefer: tuple[str, ...]) -> tuple[str, ...]:
        columns = [name.removeprefix("-") for name in prefer]
        for name, column in zip(prefer, columns, strict=True):
            if column not in PREFERENCES:
                raise ValueError(
                    f"{name!r} is not a column that dedup.prefer knows; it knows "
                    f"{', '.join(PREFERENCES)}"
                )
            if columns.count(column) > 1:
                raise ValueError(f"{column!r} is named more than once")
        return prefer

    @field_validator("crawls")
    @classmethod
    def _once(cls, crawls: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        sources = [source for crawl in crawls for source in crawl]
        if twice := sorted({source for source in sources if sources.count(source) > 1}):
            raise ValueError(
                f"sources named twice in dedup.crawls: {', '.join(twice)}; a source is in one crawl"
            )
        return crawls

    @field_validator("history")
    @classmethod
    def _references(cls, history: tuple[str, ...]) -> tuple[str, ...]:
        for reference in history:
            words = reference.removeprefix("artifact:").partition("@")[0].split("/")
            if not reference.startswith("artifact:") or len(words) != 3 or words[1] != "select":
                raise ValueError(
                    f"{reference!r} is not artifact:RECIPE/select/NAME@TAG, such as "
                    "artifact:crawl-1/select/web@latest"
                )
        if twice := sorted({reference for reference in history if history.count(reference) > 1}):
            raise ValueError(f"named more than once in dedup.history: {', '.join(twice)}")
        return history


STAGE = Stage(
    "dedup",
    version=2,
    parameters=DedupParameters,
    run="tasks.dedup.run:run",
    summary="removes exact and verified near duplicates across sources, and keeps the best copy",
    section="dedup",
    inputs=(
        Role("cut", ("cut",)),
        ALL_DOCUMENTS,
        ALL_EDITS,
        columns_of("signatures", many=True, optional=False),
        columns_of("langid", many=True),
        columns_of("quality", many=True),
        columns_of("perplexity", many=True),
        Role("history", ("select",), many=True, optional=True),
    ),
    outputs=outputs_of_election("duplicates"),
    compiles=("tasks.dedup.run",),
)
