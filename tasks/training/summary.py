"""What is reported of a finished phase: headline, losses, and notes on what went wrong."""

from __future__ import annotations

import statistics
from typing import Any

from tasks.training.planning.plan import TrainingPlan
from tasks.training.planning.sampler import Sampler
from tasks.training.step.guard import Course, alarm
from tasks.training.step.progress import Progress

SKIPPED_SHARE = 0.05
"""A larger share of skipped steps is reported at the end."""

LAST_STEPS = 20
"""Steps whose mean loss is reported as the phase's last."""


def phase_summary(
    progress: Progress, guessing: float, plan: TrainingPlan, sampler: Sampler
) -> dict[str, Any]:
    """Statistics of a phase; losses are in nats.

    `guessing`: loss of a uniform guess.
    """
    last = progress.course.losses[-LAST_STEPS:]
    notes = _notes(progress, guessing)
    return {
        "headline": "; ".join([_headline(progress.course, last), *notes]),
        "steps": progress.step,
        "tokens": plan.tokens,
        "tokens_total": plan.end.tokens,
        "rows": sampler.state.drawn,
        "loss_tokens": {c: round(n) for c, n in sorted(progress.loss_tokens.items())},
        "epochs": sampler.epochs,
        "readings": sampler.readings,
        "loss_first": progress.first_loss,
        "loss_of_guessing": guessing,
        "loss_last": statistics.fmean(last) if last else None,
        "skipped_steps": progress.skipped,
        "empty_steps": progress.empty,
        "overflowed_steps": progress.loss_scale.overflows,
        "notes": notes,
    }


def _notes(progress: Progress, guessing: float) -> list[str]:
    problem = alarm(progress.course, guessing, warm=True)
    notes = [problem] if problem else []
    if progress.empty:
        notes.append(
            f"{progress.empty:,} of its {progress.step:,} steps had no token to learn from (all in "
            "source or padding) and were not taken; raise training.batch"
        )
    if progress.loss_scale.overflows > SKIPPED_SHARE * progress.step:
        notes.append(
            f"{progress.loss_scale.overflows:,} of its {progress.step:,} steps overflowed float16 "
            "and were not taken; precision: bf16 has no such limit"
        )
    if progress.skipped > SKIPPED_SHARE * progress.step:
        notes.append(
            f"{progress.skipped:,} of its {progress.step:,} steps were not taken; see "
            "records/metrics.jsonl"
        )
    return notes


def _headline(course: Course, last: list[float]) -> str:
    if not last:
        return "no step was taken"
    beginnings = list(course.beginnings.values())
    loss_sum = sum(total for _, _, total, _ in beginnings)
    first = loss_sum / sum(valid for _, valid, _, _ in beginnings)
    return f"loss {first:.3f} to {statistics.fmean(last):.3f}"
