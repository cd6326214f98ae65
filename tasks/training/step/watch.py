"""What follows from the guard: a step is skipped, a warning logged, or the phase stopped.

`tasks.training.step.guard` judges losses; this module counts, logs and words the errors.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from tasks.training.errors import TrainingStopped
from tasks.training.planning.plan import TrainingPlan
from tasks.training.recipe.sections import Guard
from tasks.training.step.guard import BEGINS, WINDOW, alarm, guard_reason, has_diverged
from tasks.training.step.progress import Progress

_LOG = logging.getLogger(__name__)


class LossWatch:
    """Watches the losses of one phase.

    Args:
        guessing: loss of a uniform guess, in nats.
    """

    def __init__(self, guard: Guard, plan: TrainingPlan, guessing: float) -> None:
        self._guard = guard
        self._plan = plan
        self._guessing = guessing

    def skip_reason(
        self,
        progress: Progress,
        loss: float,
        norm: float,
        describe_rows: Callable[[], str],
    ) -> str:
        """Why this step must not be taken; "" when it may. Counts skipped steps in `progress`.

        `describe_rows`: names the rows of the step and their documents.

        Raises:
            TrainingStopped: `guard.patience` steps in a row could not be taken.
        """
        reason = guard_reason(loss, norm, progress.course.losses, self._guard)
        if not reason:
            progress.skipped_in_a_row = 0
            if progress.first_loss is None:
                progress.first_loss = loss
            return ""
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        patience = self._guard.patience
        if progress.skipped_in_a_row >= patience:
            raise TrainingStopped(
                f"{patience} steps in a row could not be taken, the last because {reason}. "
                f"Documents of {describe_rows()}. Lower the learning rate, look at these "
                "documents, or change training.guard"
            )
        _LOG.warning("step %d is not taken: %s", progress.step + 1, reason)
        return reason

    def alarm(self, progress: Progress) -> str:
        """What is wrong with the loss, logged when it begins; "" if nothing is."""
        course = progress.course
        complete = progress.rows == self._plan.rows
        if len(course.losses) < BEGINS and not complete:
            return ""
        tokens = self._plan.start + progress.rows * self._plan.sequence_length
        warm = complete or tokens - self._plan.schedule_origin >= self._plan.schedule.warmup
        problem = alarm(course, self._guessing, warm=warm)
        if problem and not course.told:
            _LOG.warning("step %d: %s", progress.step, problem)
        course.told = bool(problem)
        return problem

    def divergence(self, progress: Progress) -> str:
        """Why a phase that has clearly diverged stops; "" where it has not, or may go on."""
        complete = progress.rows == self._plan.rows
        steps = BEGINS if complete else WINDOW
        if self._guard.diverged != "stop" or not has_diverged(
            progress.course, self._guessing, steps=steps
        ):
            return ""
        problem = alarm(progress.course, self._guessing, warm=True)
        return (
            f"this phase has diverged: {problem}. Most often the learning rate is too high (peak "
            f"{self._plan.schedule.peak:g}): lower training.optimizer.lr or the phase's lr, or "
            "lengthen schedule.warmup; the phase then starts again from the one before it, which "
            f"is kept. To go on from step {progress.step} all the same: training.guard.diverged: "
            "warn"
        )
