"""Watch the loss: steps that must be skipped, and phases that have diverged.

Divergence is judged against two references. A uniform guess over all rows of the head costs
ln(rows) nats per token, so a model above that is worse than chance. And each category is compared
with its own loss when the phase first drew it: a mixture that moves to harder text raises the mean
loss without any harm. New rows may start above the loss of guessing and fall, so a phase is stopped
only if its loss has also risen.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.training.recipe.sections import Guard

WINDOW = 64
"""Steps whose median loss is the reference for spikes and decides whether a phase has diverged."""

BEGINS = 16
"""Steps taken before spikes and divergence are checked."""

SPIKE_NATS = 3.0
"""A spike is also at least this far above the median: three times a near-zero loss is not a spike.
"""

RISE_NATS = 1.0
"""A rise that is warned about: perplexity e times that of the phase's beginning. The usual bump
after warm-up is a few tenths of a nat.
"""

LOST_NATS = 3.0
"""A rise that stops a phase even below guessing: perplexity 20 times that of the beginning."""

BEGINNING_ROWS = 8
"""Rows that give a category's initial loss: usually its first step's, before any update."""


@dataclass
class Course:
    """Recent losses of a phase, and what they are compared with; part of a checkpoint."""

    losses: list[float] = field(default_factory=list)
    """Of the last `WINDOW` steps taken."""
    rises: list[float] = field(default_factory=list)
    """Of the same steps: rise above the categories' initial losses, weighted by tokens."""
    beginnings: dict[str, list[float]] = field(default_factory=dict)
    """Category -> rows, valid tokens and loss sum of its beginning, and its first loss."""
    told: bool = False
    """Whether a warning was logged since the loss was last normal."""

    def add(
        self, loss: float, by_category: Mapping[str, tuple[int, float, float]], guessing: float
    ) -> None:
        """Add a step: its mean loss, and for each category its rows, valid tokens and loss sum."""
        risen = tokens = 0.0
        for category, (rows, valid, total) in by_category.items():
            if not valid:
                continue
            start = self.beginnings.setdefault(category, [0, 0, 0, total / valid])
            if start[0] < BEGINNING_ROWS:
                start[:3] = [start[0] + rows, start[1] + valid, start[2] + total]
            # With small batches a run can diverge within its first 8 rows. So the beginning is
            # capped at the first loss, or at guessing where that is higher.
            beginning = min(start[2] / start[1], max(start[3], guessing))
            risen += total - valid * beginning
            tokens += valid
        self.losses = [*self.losses, loss][-WINDOW:]
        self.rises = [*self.rises, risen / tokens if tokens else 0.0][-WINDOW:]


def guard_reason(loss: float, norm: float, history: list[float], guard: Guard) -> str:
    """Why a step with this loss and gradient norm must be skipped; "" where it need not be."""
    if not abs(loss) < float("inf"):
        return f"its loss is {loss}"
    if not norm < float("inf"):
        return f"its gradient norm is {norm}"
    if guard.spike and len(history) >= BEGINS:
        usual = statistics.median(history)
        if loss > max(guard.spike * usual, usual + SPIKE_NATS):
            return (
                f"its loss {loss:.3f} is over {guard.spike:g} x the median {usual:.3f} of the "
                "steps before"
            )
    return ""


def alarm(course: Course, guessing: float, *, warm: bool) -> str:
    """A description of what is wrong with the last steps (at most `BEGINS`); "" if nothing is.

    Args:
        guessing: loss of a uniform guess, in nats.
        warm: whether warm-up is over; before, a loss above guessing is normal.
    """
    losses, rises = course.losses[-BEGINS:], course.rises[-BEGINS:]
    if not losses:
        return ""
    loss, rise = statistics.median(losses), statistics.median(rises)
    problems = []
    if warm and loss > guessing:
        problems.append(f"above {guessing:.2f}, that of guessing")
    if rise > RISE_NATS:
        problems.append(f"{rise:.2f} above where this phase began")
    if not problems:
        return ""
    steps = f"the median of its last {len(losses)} steps" if len(losses) > 1 else "its last step"
    return f"the loss is {loss:.2f} ({steps}), {' and '.join(problems)}"


def has_diverged(course: Course, guessing: float, *, steps: int = WINDOW) -> bool:
    """Whether the last `steps` steps show divergence: risen far, or risen and above guessing."""
    if len(course.losses) < steps:
        return False
    loss, rise = statistics.median(course.losses), statistics.median(course.rises)
    return rise > LOST_NATS or (rise > RISE_NATS and loss > guessing)
