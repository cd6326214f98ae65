"""What decides which of two duplicates stays, and limits beyond which an election stops.

Imports nothing heavy, since recipes use it.
"""

from __future__ import annotations

from pydantic import Field

from infra.stage import Parameters

PREFERENCES = {
    "length": "signatures",  # UTF-8 bytes of the record
    "perplexity": "perplexity",
    "language_score": "langid",
    "failed": "quality",  # rules that the document fails: a list counts by its length
}
"""Column that `prefer` may name -> the stage that writes it, which is also the input role."""


class Limits(Parameters):
    """Limits beyond which a stage stops (`GateError`) unless its `accept` is true."""

    largest_cluster: int | None = Field(
        default=100_000,
        ge=2,
        description="documents of a cluster, the kept one included; null: no limit",
    )
    removal_rate: float | None = Field(
        default=0.75,
        ge=0,
        le=1,
        description="share of a source's eligible documents that may be removed (except those "
        "that an earlier crawl has under the same id); null: no limit",
    )
