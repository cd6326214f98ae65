"""Stage perplexity: one node per source, which scores documents with the language models given.

The whole record is scored, a prompt and its text as one document.
"""

from __future__ import annotations

from typing import Annotated

import pydantic

from infra.stage import Output, Parameters, Role, Stage
from tasks.documents.roles import DOCUMENTS, EDITS, columns_of


class PerplexityParameters(Parameters):
    """How documents are scored."""

    max_characters: Annotated[int, pydantic.Field(ge=1)] | None = 1_000_000
    """Only the first so many characters of a longer document are scored, counted before
    normalisation. Bounds memory: SentencePiece takes about 100 bytes per character. null: no limit,
    as in cc_net.
    """


STAGE = Stage(
    "perplexity",
    version=2,
    parameters=PerplexityParameters,
    run="tasks.perplexity.run:run",
    summary="scores documents with the language model of their language",
    section="sources.*.perplexity",
    inputs=(
        DOCUMENTS,
        EDITS,
        columns_of("langid", optional=False),
        Role("models", ("language_model",), many=True, optional=True),
    ),
    outputs=(Output("part-*.parquet", "row-aligned with the documents", {"perplexity": "double"}),),
)
