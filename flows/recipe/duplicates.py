"""The recipe's sections `dedup`, `embeddings` and `semantic`: which documents say the same."""

from __future__ import annotations

from typing import Annotated, Any, Self

import pydantic

from flows.recipe.evaluated import Name
from flows.recipe.references import is_artifact
from infra.stage import FILE
from tasks.dedup.stage import DedupParameters
from tasks.documents.keep import ScoreKeep
from tasks.embeddings.stage import BASE, EmbeddingsParameters
from tasks.neighbours.stage import NeighboursParameters
from tasks.semantic.stage import SemanticParameters
from tasks.signatures.stage import SignaturesParameters
from tasks.text.lsh import bands_for
from tasks.token_vectors.stage import TokenVectorsParameters


class DedupSection(DedupParameters, SignaturesParameters):
    """Parameters of signatures and dedup. `bands` and `rows` are stated, or derived from
    `threshold`.

    If `threshold` is stated and `verify` is not, `verify` equals the threshold.
    """

    threshold: float | None = pydantic.Field(
        default=None,
        gt=0,
        lt=1,
        description="Jaccard similarity that bands and rows are to fit, instead of stating them; "
        "also `verify`, where that is not stated",
    )
    hashes: int = pydantic.Field(
        default=112,
        ge=1,
        le=1_024,
        description="with threshold: MinHash values to divide into bands, at most",
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _derive(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("threshold") is None:
            if isinstance(data, dict) and "hashes" in data:
                raise ValueError(
                    "`hashes` needs `threshold`; without it, the number of hashes is bands * rows"
                )
            return data
        if stated := [name for name in ("bands", "rows") if name in data]:
            raise ValueError(
                f"state either `threshold` or {' and '.join(stated)}: bands and rows are derived "
                "from `threshold`"
            )
        try:
            bands, rows = bands_for(
                float(data["threshold"]),
                int(data.get("hashes", cls.model_fields["hashes"].default)),
            )
        except (TypeError, ValueError):
            return data  # the checks of the fields report what is wrong
        return {"verify": data["threshold"], **data, "bands": bands, "rows": rows}


class EmbeddingsSection(EmbeddingsParameters, TokenVectorsParameters):
    """One model for the vectors of all documents. `sample`, `smoothing` and `dimensions` are of
    `model: base`, the others of an encoder.
    """

    model: Annotated[str, FILE] = pydantic.Field(
        min_length=1,
        description="folder of a Hugging Face encoder or a sentence-transformers model, or its "
        "name on the hub; `base`, or artifact:RECIPE/model/NAME@TAG: sums of the input embeddings "
        "of the recipe's model.base, or of a model that a recipe made",
    )

    @property
    def of_base(self) -> bool:
        """Whether vectors are sums of a base's input embeddings."""
        return self.model == BASE or is_artifact(self.model)

    @pydantic.model_validator(mode="after")
    def _only_its_own(self) -> Self:
        kind = EmbeddingsParameters if self.of_base else TokenVectorsParameters
        foreign = sorted((self.model_fields_set - {"model"}) & set(kind.model_fields))
        if foreign:
            of = "an encoder" if self.of_base else "model: base"
            raise ValueError(f"{', '.join(foreign)}: of {of}, and model is {self.model}; remove it")
        return self


class SemanticSection(SemanticParameters, NeighboursParameters):
    """Which documents are near others by their vectors, and how near a document may be to one that
    stays. Without `keep`, pairs are found and counted, and none is dropped.
    """

    keep: ScoreKeep | None = None  # type: ignore[assignment]  # required where documents are dropped
    without: tuple[Name, ...] = pydantic.Field(
        default=(),
        description="sources whose documents take no part, here and in dedup.history: code or "
        "proofs, which many vectors cannot tell apart",
    )

    @pydantic.model_validator(mode="after")
    def _finds_what_it_drops(self) -> Self:
        if self.keep is not None and self.keep.limit < self.floor:
            raise ValueError(
                f"keep is {self.keep.comparison}{self.keep.limit:g}, but pairs below floor "
                f"{self.floor:g} are not searched; lower floor, or raise keep"
            )
        return self
