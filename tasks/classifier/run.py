"""Runs stage classifier: gather examples, train and measure; or take over."""

from __future__ import annotations

from pathlib import Path

from infra.context import Context
from infra.stage import Outcome, StageError
from tasks.classifier.stage import ClassifierParameters


def run(context: Context) -> Outcome:
    """See `tasks.classifier.stage`."""
    parameters: ClassifierParameters = context.parameters
    if parameters.model is not None:
        from tasks.classifier.taken_over import Taken, take_over

        pins = context.local_pins("model")
        files = tuple((pin.name, Path(pin.path)) for pin in pins)
        return Outcome(
            context.map(take_over, {"model": Taken(context.name, parameters, files)})["model"]
        )
    if context.optional("labels") is None and not (parameters.good and parameters.bad):
        raise StageError(
            f"classifier/{context.name} has nothing to learn from; name `labels`, the sources "
            "`good` and `bad`, or a `model` that is trained already"
        )
    from tasks.classifier.examples import LABELS_FILE, sample_files
    from tasks.classifier.train import Training, train

    labels = context.optional("labels")
    work = Training(
        context.name,
        parameters,
        sample_files(context),
        None if labels is None else labels.path(LABELS_FILE),
        context.scratch(),
    )
    return Outcome(context.map(train, {"model": work}, here=True)["model"])
