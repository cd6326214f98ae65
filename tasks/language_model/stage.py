"""Stage language_model: one node per language, with cc_net's settings by default.

The model is trained on whole records: a prompt and its text are one sentence, as when scored. Or it
was trained elsewhere, and is named by its files.
Pins: `lm` and `sentencepiece`, the files of a model trained elsewhere.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import pydantic

from infra.stage import FILE, JSON, NOT_IDENTITY, Output, Parameters, Role, Stage
from tasks.documents.roles import ALL_EDITS, columns_of

Discounts = tuple[
    Annotated[float, pydantic.Field(ge=0, le=1)],
    Annotated[float, pydantic.Field(ge=0, le=2)],
    Annotated[float, pydantic.Field(ge=0, le=3)],
]


class LanguageModelParameters(Parameters):
    """What a language's models are trained on, and how.

    `estimator` is part of the artifact's version, so it never depends on what is installed.
    `builtin` estimates in memory and writes ARPA. `lmplz` runs KenLM's programs, which sort on disk
    and write KenLM's binary format, shared by workers in memory. Both follow the same formulas;
    their scores agree to 1e-5.
    """

    language: Annotated[str, pydantic.Field(min_length=1)]
    """A langid label. Documents of other languages are skipped, in sources that have labels."""

    lm: Annotated[str | None, FILE] = None
    """KenLM model trained elsewhere, binary or ARPA; all settings of training are then without
    meaning.
    """

    sentencepiece: Annotated[str | None, FILE] = None
    """The SentencePiece model whose pieces are the words of `lm`."""

    normalise_without: tuple[Literal["lower_case", "strip_accents", "zero_digits"], ...] = ()
    """Steps of cc_net's normaliser that text does not take, in training and in scoring. A model
    trained elsewhere needs those that its training left out: none for cc_net's own, lower_case and
    strip_accents for edugp/kenlm's.
    """

    held_out: dict[str, float] = pydantic.Field(default_factory=dict)
    """Source -> share of its documents that select may hold out; the models never read these.
    Planning fills it in for sources that are also training data.
    """

    documents: Annotated[int, pydantic.Field(ge=1)] = 1_000_000
    """The n-gram model is trained on the first so many documents of the language."""

    sentencepiece_documents: Annotated[int, pydantic.Field(ge=1)] = 400_000
    sentencepiece_characters: Annotated[int, pydantic.Field(ge=1)] = 100_000_000
    """SentencePiece is trained on the first documents up to both limits. It trains in memory and on
    one thread, because its result depends on the number of threads.
    """

    vocabulary: Annotated[int, pydantic.Field(ge=8)] = 65_536
    """Pieces of the unigram model; fewer if the corpus yields fewer (see the statistics)."""

    character_coverage: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.9995
    order: Annotated[int, pydantic.Field(ge=2, le=6)] = 5
    """Longest n-grams; KenLM is compiled for orders up to 6."""

    discount_fallback: Discounts | None = (0.5, 1.0, 1.5)
    """Discounts of counts 1, 2 and 3+ for an order whose counts yield none (small corpora); null
    refuses such a corpus.
    """

    estimator: Literal["builtin", "lmplz"] = "builtin"
    lmplz: Annotated[str | None, NOT_IDENTITY] = None
    """Path of `lmplz`, with `build_binary` in the same folder; by default searched on the PATH and
    in build/lmplz.
    """

    lmplz_memory: Annotated[str, NOT_IDENTITY] = "4G"
    """Memory for sorting, as lmplz's option -S takes it; the output does not depend on it."""

    @pydantic.field_validator("normalise_without")
    @classmethod
    def _sorted(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(steps)))

    @pydantic.model_validator(mode="after")
    def _both_files(self) -> Self:
        if (self.lm is None) != (self.sentencepiece is None):
            given, missing = ("lm", "sentencepiece") if self.lm else ("sentencepiece", "lm")
            raise ValueError(
                f"`{given}` is given without `{missing}`; they only make sense together, so name "
                "both files"
            )
        return self

    @property
    def pretrained(self) -> bool:
        """Whether the models were trained elsewhere."""
        return self.lm is not None

    def identity(self) -> dict[str, JSON]:
        """Of a model trained elsewhere only what its files, which are in the pins, do not say."""
        found = super().identity()
        if self.pretrained:
            found = {name: found[name] for name in ("language", "normalise_without")}
        if not self.normalise_without:
            del found["normalise_without"]
        return found


STAGE = Stage(
    "language_model",
    version=2,
    parameters=LanguageModelParameters,
    run="tasks.language_model.run:run",
    summary="the SentencePiece and n-gram model of one language: trained here, or elsewhere",
    section="language_models.*",
    inputs=(
        Role("documents", ("ingest",), many=True, optional=True),
        ALL_EDITS,
        columns_of("langid", many=True),
    ),
    outputs=(
        Output("lm.*", "the n-gram model, ARPA or KenLM's binary form"),
        Output("sp.model", "the SentencePiece model"),
        Output("unit.json", "how text is normalised, and what the model was trained on"),
    ),
)
