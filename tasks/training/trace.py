"""Which rows and documents an optimizer step saw, by rerunning the sampler without a model."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.documents.rows import Rows, Span
from tasks.training.planning.sampler import Row
from tasks.training.spec import Carried, plan_and_sampler
from tasks.training.stage import TrainingParameters


@dataclass(frozen=True)
class TracedRow:
    """One row of a step: its place in the bins, and the parts of documents in it."""

    row: Row
    bin: str
    """Folder of the bin."""
    bin_row: int
    """Row number in that bin."""
    documents: tuple[Span, ...]


def trace(
    parameters: TrainingParameters, bins: Mapping[str, Sequence[str]], carried: Carried, step: int
) -> list[TracedRow]:
    """The rows of a phase's step `step` (from 1, as in metrics.jsonl), in the order drawn.

    `bins`: category -> folders of its bins, in order; `carried`: what earlier phases handed on.

    Raises:
        ValueError: the phase has no such step.
    """
    rows = {category: Rows(folders) for category, folders in sorted(bins.items())}
    lengths = {category: reader.lengths for category, reader in rows.items()}
    plan, sampler = plan_and_sampler(parameters, lengths, carried)
    if not 0 < step <= plan.step_count:
        raise ValueError(f"step {step} is not in this phase; name one from 1 to {plan.step_count}")
    planned = next(plan.steps(step - 1))
    sampler.draw(planned.first_row)
    traced = []
    for row in sampler.draw(planned.rows):
        ends = list(itertools.accumulate(lengths[row.category]))
        bin_index = bisect.bisect_right(ends, row.number)
        first = ends[bin_index] - lengths[row.category][bin_index]
        documents = tuple(rows[row.category].provenance(row.number))
        traced.append(TracedRow(row, bins[row.category][bin_index], row.number - first, documents))
    return traced
