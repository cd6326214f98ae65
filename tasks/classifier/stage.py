"""Stage classifier: one node per quality classifier: trained on labels or on two kinds of sources,
or taken over.

    data/classifier.json    how its files become scores (`tasks.scorers.meta`)
    data/model.bin          fastText; or weights.npy (a linear probe); or model/ (Hugging Face)
    data/heldout.parquet    what it says of held-out documents; none where it was taken over
    data/sample/            the documents it was trained and measured on

1. Documents: those with labels, or a sample by hash of the sources `good` and `bad`.
2. Near duplicates are one group (`tasks.classifier.groups`). `heldout` of the groups, by a hash of
   an id, are not trained on.
3. Training, then Platt's calibration on the held-out documents. The reliability that is reported
   is crossed: each fold by the calibration of the others.

Statistics: documents (by side and kind), groups, auc, auc_interval, auc_of_length (what the length
alone would do), reliability, calibration_error, brier, languages, disagreements; with `target:
score` also correlation and error. Pin: `model`, the files of a classifier trained elsewhere.

Numeric, not bitwise: fastText is compiled for the machine that it is installed on, and machines
round differently. On one machine it trains on one thread, and bytes are equal.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import pydantic

from infra.quantities import Count
from infra.stage import FILE, JSON, Output, Parameters, Role, Stage
from tasks.documents.roles import ALL_EDITS, columns_of


class FastTextSettings(Parameters):
    """How fastText is trained; see its documentation."""

    dim: int = pydantic.Field(default=64, ge=1, le=1_000)
    epochs: int = pydantic.Field(default=5, ge=1, le=1_000)
    lr: float = pydantic.Field(default=0.5, gt=0, le=10)
    word_ngrams: int = pydantic.Field(
        default=2,
        ge=2,
        le=5,
        description="longest runs of words; without runs, fastText has no buckets, which the "
        "repeatable way of training needs",
    )
    min_count: int = pydantic.Field(default=2, ge=1)
    buckets: int = pydantic.Field(
        default=200_000,
        ge=1,
        description="of hashed n-grams; each takes 4 bytes a dimension, and all at least 8 MiB",
    )


class ClassifierParameters(Parameters):
    """What a classifier learns from, and how; or, with `model`, one trained elsewhere."""

    model: Annotated[str | None, FILE] = pydantic.Field(
        default=None,
        description="a classifier trained elsewhere: a fastText file (.bin, .ftz), or the folder "
        "or hub name of a sequence classifier of Hugging Face such as "
        "HuggingFaceFW/fineweb-edu-classifier",
    )
    label: str = pydantic.Field(
        default="",
        description="of a classifier trained elsewhere, the label whose probability is the score; "
        "needed unless it has one output or names one of its labels hq, good or positive",
    )
    device: Literal["cpu", "cuda"] = pydantic.Field(
        default="cpu", description="where a model of Hugging Face runs"
    )
    max_tokens: int = pydantic.Field(
        default=512, ge=8, description="tokens of a document that a model of Hugging Face reads"
    )
    kind: Literal["fasttext", "linear"] = pydantic.Field(
        default="fasttext",
        description="fasttext, on words; linear, a probe on the vectors of `embeddings`",
    )
    good: tuple[str, ...] = pydantic.Field(
        default=(), description="sources whose documents are examples of good ones"
    )
    bad: tuple[str, ...] = pydantic.Field(default=(), description="and those of others")
    threshold: float = pydantic.Field(
        default=3.0, description="with labels: a document with at least this score is good"
    )
    target: Literal["probability", "score"] = pydantic.Field(
        default="probability",
        description="what it gives: the probability that a document is good, or (linear, with "
        "labels) the rubric's score",
    )
    sample: Count = pydantic.Field(
        default=10_000, gt=0, description="documents of each source in good and bad, by hash"
    )
    languages: tuple[str, ...] | None = pydantic.Field(
        default=None,
        description="languages that it learns and scores; by default those of at least 2 % of the "
        "documents it learns from, where langid tells",
    )
    heldout: float = pydantic.Field(
        default=0.2, gt=0, lt=1, description="share of documents that it is measured on"
    )
    minimum: int = pydantic.Field(
        default=50, ge=2, description="documents of each kind that training needs at least"
    )
    max_characters: int = pydantic.Field(
        default=10_000, ge=1, description="characters of a document that fastText reads"
    )
    fasttext: FastTextSettings = FastTextSettings()
    l2: float = pydantic.Field(default=1e-4, gt=0, description="penalty of a linear probe")
    seed: int = pydantic.Field(default=0, ge=0)

    @pydantic.field_validator("good", "bad", "languages")
    @classmethod
    def _sorted(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return names if names is None else tuple(sorted(set(names)))

    @pydantic.model_validator(mode="after")
    def _sensible(self) -> Self:
        if both := set(self.good) & set(self.bad):
            raise ValueError(
                f"{', '.join(sorted(both))} is in `good` and in `bad`; leave it in one of them"
            )
        if self.target == "score" and self.kind == "fasttext" and not self.model:
            raise ValueError(
                "target: score needs kind: linear; fastText tells good documents from others"
            )
        return self

    def identity(self) -> dict[str, JSON]:
        """Of a classifier trained elsewhere only what its files, which are in the pins, do not say;
        of one trained here, settings of its own kind.
        """
        found = super().identity()
        if self.model:
            names = ("label", "device", "max_tokens", "languages", "max_characters")
            return {name: found[name] for name in names}
        unused = {"label", "device", "max_tokens"}
        unused |= {"l2"} if self.kind == "fasttext" else {"fasttext", "max_characters"}
        unused |= {"threshold"} if self.good else {"good", "bad", "sample"}
        return {name: value for name, value in found.items() if name not in unused}


STAGE = Stage(
    "classifier",
    version=1,
    parameters=ClassifierParameters,
    run="tasks.classifier.run:run",
    summary="a quality classifier: trained on labels or on two kinds of sources, or taken over",
    section="classifiers.*",
    bitwise=False,
    inputs=(
        Role("documents", ("ingest",), many=True, optional=True),
        ALL_EDITS,
        columns_of("langid", many=True),
        Role("labels", ("labels",), optional=True),
        columns_of("embeddings", many=True),
    ),
    outputs=(
        Output("classifier.json", "how the model's output becomes a score"),
        Output("model.bin", "a fastText model"),
        Output("weights.npy", "a linear probe: weights, and last the bias"),
        Output("model/*", "a model of Hugging Face"),
        Output(
            "heldout.parquet",
            "what the classifier says of documents that it was not trained on",
            {
                "id": "string",
                "source": "string",
                "language": "string",
                "label": "double",
                "good": "bool",
                "group": "int64",
                "margin": "double",
                "score": "double",
            },
        ),
        Output(
            "sample/*/part-*.parquet",
            "the documents that it learned from or was measured on",
            {
                "id": "string",
                "source": "string",
                "language": "string",
                "url": "string",
                "text": "string",
            },
        ),
    ),
    check="tasks.classifier.check:faults",
)
