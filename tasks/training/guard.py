"""What watches the loss: steps that must not be taken, and runs that have diverged.

Two references say whether a run has diverged. Guessing evenly among all rows of the head costs
ln(rows) nats a token, so a model above that knows less than nothing. And each category is compared
with its own loss when the phase met it first: a mixture that moves to harder text raises the mean
without any harm done. New rows may begin above guessing, and fall; so a phase is stopped only where
it has also risen.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.training.sections import Guard

WINDOW = 64
"""Losses whose median a step is compared with, and whose median decides that a phase has diverged.
"""

BEGINS = 16
"""Steps of a phase before spikes and divergence are looked for."""

SPIKE_NATS = 3.0
"""A spike is also this much above the median: in a model that knows its data by heart, 3 x nothing
is no alarm.
"""

RISE_NATS = 1.0
"""What is told: a perplexity e times that of the phase's beginning. Bumps after a warm-up are a few
tenths.
"""

LOST_NATS = 3.0
"""What is stopped also below guessing: a perplexity 20 times that of the beginning."""

BEGINNING_ROWS = 8
"""Rows of a category whose loss is its beginning: with usual batches those of its first step,
before any update.
"""


@dataclass
class Course:
    """How the loss of a phase went; part of a checkpoint."""

    losses: list[float] = field(default_factory=list)
    """Of the last steps taken, `WINDOW` at most."""
    rises: list[float] = field(default_factory=list)
    """The same steps: loss above what the same categories had at their beginning, weighted by
    tokens.
    """
    beginnings: dict[str, list[float]] = field(default_factory=dict)
    """Category -> rows, valid tokens and loss sum of its beginning, and its first loss."""
    told: bool = False
    """Whether divergence was told since the loss was last in order."""

    def add(self, loss: float, of: Mapping[str, tuple[int, float, float]], guessing: float) -> None:
        """Take in a step: its loss, and rows, valid tokens and loss sum by category."""
        risen = tokens = 0.0
        for category, (rows, valid, total) in of.items():
            if not valid:
                continue
            begun = self.beginnings.setdefault(category, [0, 0, 0, total / valid])
            if begun[0] < BEGINNING_ROWS:
                begun[:3] = [begun[0] + rows, begun[1] + valid, begun[2] + total]
            # With small batches a run can be lost before 8 rows are seen: above guessing, only its
            # first loss counts.
            beginning = min(begun[2] / begun[1], max(begun[3], guessing))
            risen += total - valid * beginning
            tokens += valid
        self.losses = [*self.losses, loss][-WINDOW:]
        self.rises = [*self.rises, risen / tokens if tokens else 0.0][-WINDOW:]


def guard_reason(loss: float, norm: float, history: list[float], guard: Guard) -> str:
    """Why a step with this loss and gradient norm must not be taken, given the losses before; ""
    when it may.
    """
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
    """What is wrong with the last steps (`BEGINS` at most), in words; "" where nothing is.

    Args:
        guessing: loss of an even guess, in nats.
        warm: whether warm-up is over, before which a loss above guessing is no news.
    """
    losses, rises = course.losses[-BEGINS:], course.rises[-BEGINS:]
    if not losses:
        return ""
    loss, rise = statistics.median(losses), statistics.median(rises)
    found = []
    if warm and loss > guessing:
        found.append(f"above {guessing:.2f}, that of guessing")
    if rise > RISE_NATS:
        found.append(f"{rise:.2f} above where this phase began")
    if not found:
        return ""
    steps = f"the median of its last {len(losses)} steps" if len(losses) > 1 else "its last step"
    return f"the loss is {loss:.2f} ({steps}), {' and '.join(found)}"


def has_diverged(course: Course, guessing: float, *, steps: int = WINDOW) -> bool:
    """Whether the last `steps` steps leave no doubt: above guessing and risen, or risen beyond all
    use.
    """
    if len(course.losses) < steps:
        return False
    loss, rise = statistics.median(course.losses), statistics.median(course.rises)
    return rise > LOST_NATS or (rise > RISE_NATS and loss > guessing)
