"""Stage scores: column `score` (float), one row per document, of one classifier.

A node for each classifier of a source, named SOURCE~CLASSIFIER, so that a further classifier scores
nothing anew. Null is a document without a score: an empty one, and one in a language that the
classifier has not learned. What scores mean for a document, `cut` decides by `keep`.
"""

from __future__ import annotations

from infra.stage import Output, Parameters, Role, Stage
from tasks.documents.roles import DOCUMENTS, EDITS, columns_of


class ScoresParameters(Parameters):
    """None: a classifier's artifact says all."""


STAGE = Stage(
    "scores",
    version=1,
    parameters=ScoresParameters,
    run="tasks.scores.run:run",
    summary="scores documents with a quality classifier",
    inputs=(
        DOCUMENTS,
        EDITS,
        columns_of("langid"),
        columns_of("embeddings"),
        Role("classifier", ("classifier",)),
    ),
    outputs=(Output("part-*.parquet", "row-aligned with the documents", {"score": "float"}),),
)
