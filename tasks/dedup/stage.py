"""Deduplication over all sources: exact, then near duplicates that verification on the text confirms."""

from __future__ import annotations

from pydantic import Field, field_validator

from infra.stage import Parameters, Stage

PREFERENCES = ("perplexity", "length")
"""Columns that `prefer` may name: perplexity (stage perplexity), length in UTF-8 bytes of text (stage signatures)."""


class Gates(Parameters):
    """Limits beyond which the stage stops (`GateError`) until `dedup.accept` is true or the limit is raised."""

    largest_cluster: int | None = Field(
        default=100_000, ge=2, description="documents that one document may stand for, itself included; null: no limit"
    )
    removal_rate: float | None = Field(
        default=0.75, ge=0, le=1, description="share of a source's eligible documents that may go; null: no limit"
    )


class DedupParameters(Parameters):
    """`shingle`, `bands` and `rows` must be those of the signatures."""

    shingle: int = Field(default=5, ge=1, le=100, description="words of a shingle")
    bands: int = Field(
        default=14, ge=1, le=1_000, description="documents that agree in all rows of a band are compared"
    )
    rows: int = Field(default=8, ge=1, le=1_000, description="MinHash values in a band")
    verify: float = Field(
        default=0.8, gt=0, le=1, description="Jaccard similarity of shingle sets from which a document is a duplicate"
    )
    prefer: tuple[str, ...] = Field(
        default=("-perplexity", "length"),
        description="which of two duplicates stays: columns in order of weight, '-' for lower is better; documents "
        "without a value come last, ties go to the smaller id",
    )
    history: tuple[str, ...] = Field(default=(), description="earlier select artifacts whose documents come first")
    gates: Gates = Gates()
    accept: bool = Field(default=False, description="go on although a gate's limit is exceeded")

    @field_validator("prefer")
    @classmethod
    def _known(cls, prefer: tuple[str, ...]) -> tuple[str, ...]:
        columns = [name.removeprefix("-") for name in prefer]
        for name, column in zip(prefer, columns, strict=True):
            if column not in PREFERENCES:
                raise ValueError(f"{name!r} is not a column to prefer by; known are {', '.join(PREFERENCES)}")
            if columns.count(column) > 1:
                raise ValueError(f"{column!r} is named more than once")
        return prefer

    @field_validator("history")
    @classmethod
    def _no_history(cls, history: tuple[str, ...]) -> tuple[str, ...]:
        if history:
            raise ValueError(
                f"{list(history)}: deduplication against earlier crawls is not there yet; leave history empty ([]), or "
                "add the earlier crawl as a source"
            )
        return history


STAGE = Stage(
    "dedup",
    version=1,
    parameters=DedupParameters,
    run="tasks.dedup.run:run",
    summary="which documents go because a better copy stays: exact and verified near duplicates, across sources",
)
