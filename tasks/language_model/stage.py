"""Parameters of the language model stage: one node per language, cc_net's settings by default.

A document is its whole record: a prompt and its text are one sentence to the model, as they are
when scored.
"""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from infra.stage import NOT_IDENTITY, Output, Parameters, Stage
from tasks.documents.roles import ALL_DOCUMENTS, ALL_EDITS, columns_of

Discounts = tuple[
    Annotated[float, pydantic.Field(ge=0, le=1)],
    Annotated[float, pydantic.Field(ge=0, le=2)],
    Annotated[float, pydantic.Field(ge=0, le=3)],
]


class LanguageModelParameters(Parameters):
    """What a language's model is trained on and how.

    `estimator` is part of the version and never chosen by what is installed: `builtin` estimates in
    memory and writes ARPA, `lmplz` runs KenLM's programs, sorts on disk, and writes KenLM's binary
    format, which workers share in memory. Both follow the same formulas; their scores agree to
    1e-5.
    """

    language: Annotated[str, pydantic.Field(min_length=1)]
    """The label of langid; documents of other languages are left out where a source has language
    labels.
    """

    held_out: dict[str, float] = pydantic.Field(default_factory=dict)
    """Source -> share of its documents that select may hold out; the model reads none of these. The
    plan fills it for sources that are trained on too.
    """

    documents: Annotated[int, pydantic.Field(ge=1)] = 1_000_000
    """The n-gram model reads the first so many documents of the language, in the order of the
    sources given.
    """

    sentencepiece_documents: Annotated[int, pydantic.Field(ge=1)] = 400_000
    sentencepiece_characters: Annotated[int, pydantic.Field(ge=1)] = 100_000_000
    """SentencePiece reads the first so many documents, and no more characters than this: it trains
    in memory, on one thread (more would change the result).
    """

    vocabulary: Annotated[int, pydantic.Field(ge=8)] = 65_536
    """Pieces of the unigram model, less where the corpus yields fewer (the statistics say so)."""

    character_coverage: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.9995
    order: Annotated[int, pydantic.Field(ge=2, le=6)] = 5
    """KenLM is compiled for orders up to 6."""

    discount_fallback: Discounts | None = (0.5, 1.0, 1.5)
    """Discounts of counts 1, 2 and 3+ where an order's counts give none (small corpora); null
    refuses such a corpus.
    """

    estimator: Literal["builtin", "lmplz"] = "builtin"
    lmplz: Annotated[str | None, NOT_IDENTITY] = None
    """Path of the `lmplz` program (`build_binary` beside it); searched on the PATH and in
    build/lmplz when unset.
    """

    lmplz_memory: Annotated[str, NOT_IDENTITY] = "4G"
    """Memory lmplz sorts in, as its option -S takes it; its output does not depend on it."""


STAGE = Stage(
    "language_model",
    version=2,
    parameters=LanguageModelParameters,
    run="tasks.language_model.run:run",
    summary="trains the SentencePiece and n-gram model of one language",
    section="language_models.*",
    inputs=(ALL_DOCUMENTS, ALL_EDITS, columns_of("langid", many=True)),
    outputs=(
        Output("lm.arpa", "the n-gram model"),
        Output("sp.model", "the SentencePiece model"),
        Output("unit.json", "how text is normalised, and what the model was trained on"),
    ),
)
