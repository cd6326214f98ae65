"""Stage neighbours: all pairs of documents with a cosine of at least `floor`, but for what clusters
hide. docs/semantic.md has the algorithm, its memory, recall and cost.

Pairs are of documents that cut and dedup left, of all sources that dedup compares, and of earlier
crawls. Which of them drop a document is decided by stage semantic, so that a changed `keep`
searches nothing again.

Input roles: cut, dedup (one), documents, signatures and embeddings (of every source), and history
(select artifacts of earlier crawls, whose indexes hold vectors).

Output: data/pairs/part-*.parquet, `first` < `second`, each pair once, none within the history.
Numbers count the rows of all parts, in the order of the statistics' `parts`.
"""

from __future__ import annotations

import pydantic

from infra.stage import Output, Parameters, Role, Stage
from tasks.documents.roles import ALL_DOCUMENTS, columns_of


class NeighboursParameters(Parameters):
    """How pairs are searched; `semantic.keep` cannot be below `floor`."""

    floor: float = pydantic.Field(
        default=0.85, gt=0, lt=1, description="cosine from which a pair is found and stored"
    )
    clusters: int | None = pydantic.Field(
        default=None,
        ge=1,
        le=65_536,
        description="k-means clusters; null: the square root of the number of documents, and one "
        "for up to 2,048 documents, where all pairs are compared",
    )
    probes: int = pydantic.Field(
        default=3,
        ge=1,
        le=64,
        description="nearest clusters in which a document's neighbours are looked for, its own "
        "first; more find more pairs and take longer in proportion",
    )
    neighbours: int = pydantic.Field(
        default=1_000,
        ge=1,
        description="pairs that a document may have in one cluster; of more, the most similar",
    )


STAGE = Stage(
    "neighbours",
    version=1,
    parameters=NeighboursParameters,
    run="tasks.neighbours.run:run",
    summary="pairs of documents with similar vectors, within k-means clusters",
    section="semantic",
    inputs=(
        Role("cut", ("cut",), content=True),
        Role("dedup", ("dedup",), content=True),
        ALL_DOCUMENTS,
        columns_of("signatures", many=True, optional=False),
        columns_of("embeddings", many=True, optional=False),
        Role("history", ("select",), many=True, optional=True),
    ),
    outputs=(
        Output(
            "pairs/part-*.parquet",
            "one file per group of clusters, sorted",
            {"first": "uint32", "second": "uint32", "similarity": "float"},
        ),
    ),
)
