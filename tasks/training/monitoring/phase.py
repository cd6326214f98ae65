"""What is seen of a phase while it trains: metrics of each step, evaluations where they are due.

All ranks evaluate together; the main rank alone writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from tasks.training.distributed.ranks import Ranks
from tasks.training.model.loss import LossModel
from tasks.training.monitoring.evaluation import Inside
from tasks.training.monitoring.monitor import Monitor
from tasks.training.planning.plan import TrainingPlan
from tasks.training.spec import Spec
from tasks.training.step.progress import Progress


class PhaseMonitor:
    """The evaluations of a phase, and what writes them and its metrics.

    Args:
        progress: where the phase begins or continues; read again for each evaluation.

    Raises:
        ValueError: an evaluation is asked for that has nothing to evaluate (`Inside.read`).
        StageError: held-out text cannot be read.
        TrainingStopped: a file cannot be written.
    """

    def __init__(self, spec: Spec, plan: TrainingPlan, progress: Progress, ranks: Ranks) -> None:
        self._plan, self._progress = plan, progress
        self._inside = ranks.together(lambda: Inside.read(spec, plan, ranks))
        self.files = ranks.together(lambda: self._open(spec, ranks) if ranks.is_main else None)
        if self._inside is not None:
            last = None if self.files is None else self.files.evaluations.last_rows
            self._inside.last_rows = ranks.from_main(last)

    def _open(self, spec: Spec, ranks: Ranks) -> Monitor:
        return Monitor(
            spec,
            ranks.device,
            step=self._progress.step,
            tokens=self._at["tokens"],
            total=self._plan.tokens,
            id=self._progress.fingerprint[:8],
        )

    @property
    def _at(self) -> dict[str, int]:
        phase_tokens = self._progress.rows * self._plan.sequence_length
        return {
            "step": self._progress.step,
            "rows": self._progress.rows,
            "phase_tokens": phase_tokens,
            "tokens": self._plan.start + phase_tokens,
        }

    def step(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Write the metrics of a step; the main rank gets them with what `Monitor.step` adds."""
        return dict(metrics) if self.files is None else self.files.step(metrics)

    def evaluate(
        self,
        model: LossModel,
        autocast: Callable[[], AbstractContextManager[Any]],
        stop: Callable[[], bool],
    ) -> None:
        """Evaluate where that is due; left out where any rank is asked to stop meanwhile."""
        if self._inside is None or not self._inside.due(self._progress.rows):
            return
        found = self._inside.run(model, self._progress.rows, autocast, stop)
        if found is not None and self.files is not None:
            self.files.evaluation(self._at, found)

    def close(self) -> None:
        """Close all files, and end the tracker's run."""
        if self.files is not None:
            self.files.close()
