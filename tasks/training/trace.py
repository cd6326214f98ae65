"""Which rows and documents an optimizer step saw: rerun the sampler without a model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.documents.rows import Rows, Span
from tasks.training.sampler import Row
from tasks.training.spec import Carried, plan_and_sampler
from tasks.training.stage import TrainingParameters


@dataclass(frozen=True)
class TracedRow:
    """One row of a step: its place in the bins, and the pieces of documents in it."""

    row: Row
    bin: str
    """Folder of the bin."""
    bin_row: int
    """Row number in that bin."""
    documents: tuple[Span, ...]


def trace(
    parameters: TrainingParameters, bins: Mapping[str, Sequence[str]], carried: Carried, step: int
) -> list[TracedRow]:
    """The rows of step `step` (from 1, as in metrics.jsonl) of a phase, in the order they were
    drawn.

    `bins`: category -> folders of its bins, in order; `carried`: what the phases before handed on.

    Raises:
        ValueError: the phase has no such step.
    """
    rows = {category: Rows(folders) for category, folders in sorted(bins.items())}
    lengths = {category: reader.lengths for category, reader in rows.items()}
    plan, sampler = plan_and_sampler(parameters, lengths, carried)
    wanted = next((found for number, found in enumerate(plan.steps(), 1) if number == step), None)
    if wanted is None:
        raise ValueError(
            f"step {step} is not in this phase; name one from 1 to {sum(1 for _ in plan.steps())}"
        )
    sampler.draw(wanted.first_row)
    found = []
    for row in sampler.draw(wanted.rows):
        ends = list(itertools.accumulate(lengths[row.category]))
        at = next(i for i, end in enumerate(ends) if row.number < end)
        first = ends[at] - lengths[row.category][at]
        documents = tuple(rows[row.category].provenance(row.number))
        found.append(TracedRow(row, bins[row.category][at], row.number - first, documents))
    return found
