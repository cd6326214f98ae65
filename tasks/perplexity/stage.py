"""Parameters of the perplexity stage: one node per source; which models score is said by its
inputs.

What is scored is the whole record, a prompt and its text as one document.
"""

from __future__ import annotations

from typing import Annotated

import pydantic

from infra.stage import Output, Parameters, Role, Stage
from tasks.documents.roles import DOCUMENTS, EDITS, columns_of


class PerplexityParameters(Parameters):
    """How documents are scored."""

    max_characters: Annotated[int, pydantic.Field(ge=1)] | None = 1_000_000
    """A longer document is scored on its first so many characters, before normalisation (cc_net has
    no such limit; null is cc_net). It bounds memory: SentencePiece takes about 100 bytes a
    character.
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
