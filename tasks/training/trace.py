"""Which rows, and which documents, an optimizer step saw: the sampler run again without a model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from tasks.documents.rows import Rows, Span
from tasks.training.sampler import Row
from tasks.training.spec import Carried, Spec, plan_and_sampler


@dataclass(frozen=True)
class TracedRow:
    """One row of a step: where it lies, and the pieces of documents in it."""

    step: int
    row: Row
    bin: str
    """Folder of the bin."""
    bin_row: int
    """Row number in that bin."""
    documents: tuple[Span, ...]


def trace(spec: Spec, step: int) -> list[TracedRow]:
    """The rows of step `step` (from 1, as in metrics.jsonl) of a phase, in the order they were drawn.

    Raises:
        ValueError: the phase has no such step.
    """
    rows = {category: Rows(folders) for category, folders in sorted(spec.bins.items())}
    lengths = {category: reader.lengths for category, reader in rows.items()}
    plan, sampler = plan_and_sampler(spec.parameters, lengths, Carried.read(spec))
    wanted = next(itertools.islice(plan.steps(), step - 1, None), None) if step > 0 else None
    if wanted is None:
        raise ValueError(f"step {step} is not in this phase: it has {sum(1 for _ in plan.steps())} steps, from 1")
    sampler.draw(wanted.first_row)
    found = []
    for row in sampler.draw(wanted.rows):
        ends = list(itertools.accumulate(lengths[row.category]))
        at = next(i for i, end in enumerate(ends) if row.number < end)
        first = ends[at] - lengths[row.category][at]
        documents = tuple(rows[row.category].provenance(row.number))
        found.append(TracedRow(step, row, spec.bins[row.category][at], row.number - first, documents))
    return found
