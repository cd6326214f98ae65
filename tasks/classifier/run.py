"""Runs stage classifier: gather examples, train and measure; or take over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infra.context import Context
from infra.stage import Outcome, StageError
from infra.store import Artifact
from tasks.checkpoints.base import folder_of
from tasks.classifier.stage import ClassifierParameters
from tasks.documents.vectors import made_with, require_comparable


def embedding_of(artifacts: Sequence[Artifact]) -> dict[str, Any]:
    """How the vectors of all sources are made. Raises StageError where they differ, or none has
    any.
    """
    given = [(artifact.identity, made_with(artifact)) for artifact in artifacts]
    known = [(label, how) for label, how in given if how is not None]
    if not known:
        raise StageError(
            "a linear classifier reads vectors, and its sources have none; add a section "
            "embeddings, or write kind: fasttext"
        )
    require_comparable(known, "make them with one model")
    return dict(known[0][1])


def run(context: Context) -> Outcome:
    """See `tasks.classifier.stage`."""
    parameters: ClassifierParameters = context.parameters
    if parameters.model is not None:
        from tasks.classifier.taken_over import Taken, is_fasttext, take_over

        pins = context.pins.get("model", ())
        one = is_fasttext([pin.name for pin in pins])
        files = context.pin("model") if one else context.folder("model", folder_of)
        return Outcome(
            context.map(take_over, {"model": Taken(context.name, parameters, files, one)})["model"]
        )
    if context.optional("labels") is None and not (parameters.good and parameters.bad):
        raise StageError(
            f"classifier/{context.name} has nothing to learn from; name `labels`, the sources "
            "`good` and `bad`, or a `model` that is trained already"
        )
    from tasks.classifier.examples import LABELS_FILE, sample_files
    from tasks.classifier.train import Training, train

    labels = context.optional("labels")
    embedding = None
    if parameters.kind == "linear":
        embedding = embedding_of(context.many("embeddings"))
    work = Training(
        context.name,
        parameters,
        sample_files(context),
        None if labels is None else labels.path(LABELS_FILE),
        context.scratch(),
        embedding,
    )
    return Outcome(context.map(train, {"model": work}, here=True)["model"])
