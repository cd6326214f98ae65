"""Stage token_vectors: for `embeddings: {model: base}`, what every source's vectors are sums of.

    v(t) = a / (a + p(t)) * (E(t) - u u'E(t))        a: `smoothing`, p(t): share of token t in a
                                                     sample of all sources, E: the base's input
                                                     embeddings, u: the first singular vector of
                                                     the sample's documents

That is SIF: Arora, Liang, Ma, "A simple but tough-to-beat baseline for sentence embeddings", 2017.
A document's vector is the sum over its tokens, scaled to length 1. u is what all documents have in
common (frequent words, punctuation); without removing it all are similar.

Embeddings of more than `dimensions` dimensions are first projected to so many by random signs,
which keeps cosines to within 1 / sqrt(dimensions) (Achlioptas 2003).

One artifact serves all sources and, in a loop, all later crawls, as vectors are comparable only if
they were made with the same table.
"""

from __future__ import annotations

from typing import Annotated

import pydantic

from infra.stage import FILE, Output, Parameters, Role, Stage
from tasks.documents.roles import ALL_DOCUMENTS, ALL_EDITS


class TokenVectorsParameters(Parameters):
    """How the vectors of tokens are made, where `embeddings.model` is `base`."""

    model: Annotated[str | None, FILE] = None
    """Folder of the base, if it is no artifact in the role `base`."""
    sample: int = pydantic.Field(
        default=10_000,
        ge=1,
        description="documents of all sources, chosen by a hash of their ids, in which tokens are "
        "counted (about so many)",
    )
    smoothing: float = pydantic.Field(
        default=1e-3, gt=0, description="share of the text at which a token's weight is a half"
    )
    dimensions: int = pydantic.Field(
        default=512,
        ge=8,
        le=8_192,
        description="of a vector; longer input embeddings are projected to so many",
    )


STAGE = Stage(
    "token_vectors",
    version=1,
    parameters=TokenVectorsParameters,
    run="tasks.token_vectors.run:run",
    summary="the base's input embeddings, weighted by how rare a token is in a sample",
    section="embeddings",
    inputs=(ALL_DOCUMENTS, ALL_EDITS, Role("base", ("model", "training"), optional=True)),
    outputs=(
        Output("table.npy", "a vector for every token id, weights included: float32"),
        Output("tokenizer.json", "the base's tokenizer"),
    ),
    compiles=("tasks.documents.bags",),
)
