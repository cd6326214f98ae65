"""Stage embeddings: one node per source, a unit vector for every document.

The whole record is read, after `line_dedup`'s edits. Either a Hugging Face encoder makes the
vectors (`tasks.embeddings.encoder`), or they are weighted sums of the token vectors in the role
`tokens` (`tasks.embeddings.bags`), which need no model but the base.
"""

from __future__ import annotations

from typing import Annotated

import pydantic

from infra.stage import FILE, Output, Parameters, Role, Stage
from tasks.documents.roles import DOCUMENTS, EDITS

BASE = "base"
"""What a recipe names as `embeddings.model` for vectors of its own base."""


class EmbeddingsParameters(Parameters):
    """What makes the vectors. Without `model`, the artifact in the role `tokens`."""

    model: Annotated[str | None, FILE] = None
    """Folder of a Hugging Face encoder or of a sentence-transformers model, or its name on the hub.
    It must hold safetensors; no code of its own is run. `base`: sums of the input embeddings of
    `model.base`, weighted by how rare a token is, so that no other model is needed.
    """
    prefix: str = ""
    """Put before every text, for models that were trained with one ("passage: ")."""
    max_tokens: Annotated[int, pydantic.Field(ge=8)] | None = None
    """Tokens that the model reads at once, special ones and the prefix included. None: what the
    folder says (`sentence_bert_config.json`), else its positions, 512 at most.
    """
    windows: int = pydantic.Field(
        default=8,
        ge=1,
        description="a longer document is read in equal windows, whose vectors are averaged by "
        "their numbers of tokens; one longer than so many windows, in so many, evenly spread",
    )


STAGE = Stage(
    "embeddings",
    version=1,
    parameters=EmbeddingsParameters,
    run="tasks.embeddings.run:run",
    check="tasks.embeddings.check:faults",
    summary="a unit vector for every document, of an encoder or of the base's input embeddings",
    section="embeddings",
    inputs=(
        DOCUMENTS,
        EDITS,
        Role("tokens", ("token_vectors",), optional=True, content=True),
    ),
    outputs=(
        Output(
            "part-*.parquet",
            "row-aligned with the documents; null for a document without text",
            {"vector": "fixed_size_list<element: halffloat>[*]"},
        ),
    ),
)
