"""Classifiers of a source: what the recipe says of their scores, and the names of their nodes.

Every classifier of a source has a node of its own, so that a further one scores nothing anew.
Imports only pydantic and `infra.stage`.
"""

from __future__ import annotations

from typing import Literal

import pydantic

from infra.stage import Parameters
from tasks.documents.keep import ClassifierKeep

SEPARATOR = "~"
"""Between source and classifier in a node's name; no name has it."""


class SourceClassifier(Parameters):
    """What becomes of a source's documents by a classifier's score."""

    keep: ClassifierKeep | None = pydantic.Field(
        default=None,
        description="a threshold ('>=0.5'), or factors by percentile among the documents that "
        "pass all other checks, in each language: {top: 0.3}, {percentile: '>=70'}, or {curve: "
        "{0: drop, 40: 1, 80: 2, 95: 4}}; without it documents are only scored",
    )
    unscored: Literal["drop", "keep"] = pydantic.Field(
        default="drop",
        description="what becomes of documents without a score: empty ones, and those in a "
        "language that the classifier has not learned",
    )


def scores_name(source: str, classifier: str) -> str:
    """The name of the node that scores a source."""
    return f"{source}{SEPARATOR}{classifier}"


def source_of(name: str) -> str:
    """The source that a node of this name scores."""
    return name.partition(SEPARATOR)[0]


def classifier_of(name: str) -> str:
    """The classifier that it scores with."""
    return name.partition(SEPARATOR)[2]
