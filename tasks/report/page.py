"""The page of one run, from its artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.quantities import counted
from tasks.report import (
    documents,
    head,
    mixtures,
    models,
    origin,
    quality,
    scorecard,
    scores,
    training,
)
from tasks.report.blocks import Section
from tasks.report.draw import Top, draw
from tasks.report.notes import Inputs
from tasks.report.warnings import warnings


def page(
    recipe: str,
    inputs: Inputs,
    numbers: Mapping[str, Any],
    stated: Mapping[str, Any] | None = None,
    dollars_per_hour: float | None = None,
) -> str:
    """The HTML page.

    Args:
        numbers: what `summary` returned.
        stated: the recipe as it was read.
        dollars_per_hour: price of the hardware that training held.
    """
    phases = inputs.get("training", ())
    statistics_of = {phase.name: phase.statistics for phase in phases}
    found = (
        scores.benchmarks(numbers),
        scorecard.scorecard(numbers),
        documents.documents(numbers),
        documents.extraction(numbers),
        documents.removed(numbers),
        documents.languages(numbers),
        quality.quality(numbers),
        documents.duplicates(numbers),
        documents.semantic(numbers),
        documents.contamination(numbers),
        models.tokenizer(numbers),
        models.model(numbers),
        models.bins(numbers),
        mixtures.mixtures(numbers),
        training.training(training.Records.of(phases), statistics_of),
        origin.lineage(inputs),
        origin.environment(inputs),
        origin.recipe(stated or {}),
    )
    changes = head.headlines(numbers)
    top = Top(
        title=recipe,
        told=tuple(filter(None, [head.sentence(inputs, numbers)])),
        made=_made(inputs),
        warnings=tuple(warnings(inputs, numbers)),
        headlines=tuple(changes[: head.HEADLINES]),
        not_shown=max(0, len(changes) - head.HEADLINES),
        models=(next(iter(numbers["scores"]), ""), next(reversed(numbers["scores"]), "")),
        sections=tuple(
            Section(title, tuple(blocks))
            for title, blocks in (
                ("Model", head.model_blocks(inputs)),
                ("Cost", head.cost(inputs, dollars_per_hour)),
            )
            if blocks
        ),
    )
    return draw(top, [one for one in found if one is not None])


def _made(inputs: Inputs) -> str:
    """When the run's artifacts were built, and by which runs."""
    artifacts = origin.all_artifacts(inputs)
    if not artifacts:
        return "No artifacts."
    last = max(artifacts, key=lambda artifact: artifact.manifest.finished)
    runs = {artifact.manifest.run for artifact in artifacts}
    built = f"{counted(len(artifacts), 'artifact')} of {counted(len(runs), 'run')}"
    by = f" by run {last.manifest.run}" if last.manifest.run else ""
    return f"{built}, the last built {last.manifest.finished[:16].replace('T', ' ')} UTC{by}."
