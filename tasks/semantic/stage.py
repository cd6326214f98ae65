"""Stage semantic: an election among the pairs that neighbours found; see docs/semantic.md.

The definition is dedup's, with the cosine of two vectors in place of shingles:

    A document is removed if and only if `keep` refuses its cosine to an earlier document that is
    kept. The first such document represents it.

"Earlier" is dedup's order: crawls, `dedup.prefer`, ids. There is no transitive closure, and
documents of earlier crawls are kept. Documents that dedup removed take no part.

Input roles: neighbours, cut, dedup (one), documents and signatures (of every source), line_dedup,
the annotations that `prefer` names, and history. Output as dedup's.
"""

from __future__ import annotations

import pydantic

from infra.stage import Parameters, Role, Stage
from tasks.documents.keep import ScoreKeep
from tasks.documents.roles import ALL_DOCUMENTS, ALL_EDITS, columns_of
from tasks.duplicates.outputs import outputs_of_election
from tasks.duplicates.preferences import Limits


class SemanticParameters(Parameters):
    """Which cosine to a kept document lets a document stay; `prefer` and `crawls` are dedup's."""

    keep: ScoreKeep = pydantic.Field(
        description="cosine to every document that stays, such as '<0.95': documents that are "
        "nearer to one go"
    )
    prefer: tuple[str, ...] = pydantic.Field(default=(), description="set by the plan")
    crawls: tuple[tuple[str, ...], ...] = pydantic.Field(default=(), description="set by the plan")
    gates: Limits = Limits()
    accept: bool = pydantic.Field(
        default=False, description="continue if a gate's limit is exceeded"
    )

    @pydantic.field_validator("keep")
    @classmethod
    def _keeps_what_is_far(cls, keep: ScoreKeep | None) -> ScoreKeep | None:
        if keep is not None and (keep.comparison not in ("<", "<=") or not 0 < keep.limit <= 1):
            raise ValueError(
                f"'{keep.comparison}{keep.limit:g}' does not keep what is far from others; write < "
                "and a cosine above 0, at most 1, as in '<0.95'"
            )
        return keep


STAGE = Stage(
    "semantic",
    version=1,
    parameters=SemanticParameters,
    run="tasks.semantic.run:run",
    summary="removes documents whose vectors are near that of one that stays",
    section="semantic",
    inputs=(
        Role("neighbours", ("neighbours",), content=True),
        Role("cut", ("cut",)),
        Role("dedup", ("dedup",)),
        ALL_DOCUMENTS,
        ALL_EDITS,
        columns_of("signatures", many=True, optional=False),
        columns_of("langid", many=True),
        columns_of("quality", many=True),
        columns_of("perplexity", many=True),
        Role("history", ("select",), many=True, optional=True),
    ),
    outputs=outputs_of_election("documents that say the same"),
    compiles=("tasks.semantic.elect",),
)
