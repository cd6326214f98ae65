"""The recipe's sections `labels` and `classifiers`: what teaches a quality classifier."""

from __future__ import annotations

from typing import Self

import pydantic

from flows.recipe.evaluated import Name
from tasks.classifier.stage import ClassifierParameters
from tasks.labels.stage import LabelsParameters


class LabelsSection(LabelsParameters):
    """A rubric, asked of a chat model over a sample of the documents of `sources`."""

    sources: tuple[Name, ...] = pydantic.Field(min_length=1)


class ClassifierSection(ClassifierParameters):
    """A quality classifier: trained on the scores of a rubric (`labels`), on two kinds of sources
    (`good` and `bad`), or elsewhere (`model`).
    """

    labels: Name | None = pydantic.Field(
        default=None, description="the rubric of the recipe's section labels that it learns from"
    )

    @pydantic.model_validator(mode="after")
    def _learns_from_one(self) -> Self:
        sources = bool(self.good or self.bad)
        stated = [
            name
            for name, there in (
                ("model", self.model is not None),
                ("labels", self.labels is not None),
                ("good and bad", sources),
            )
            if there
        ]
        if len(stated) != 1:
            which = f"states {', '.join(stated)}" if stated else "has nothing to learn from"
            raise ValueError(
                f"{which}; state one of `labels`, `good` and `bad`, or `model` (a classifier that "
                "is trained already)"
            )
        if sources and not (self.good and self.bad):
            missing = "bad" if self.good else "good"
            raise ValueError(
                f"`{missing}` is missing: a classifier learns from documents of both kinds"
            )
        if self.target == "score" and self.labels is None and self.model is None:
            raise ValueError("target: score needs `labels`; sources have no scores")
        of_training = {"kind", "threshold", "target", "sample", "heldout", "minimum", "fasttext"}
        if self.model is not None and (unused := of_training & self.model_fields_set):
            raise ValueError(
                f"{', '.join(sorted(unused))}: of training, and this classifier is trained "
                "already (model); remove this, or `model`"
            )
        return self
