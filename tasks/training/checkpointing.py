"""What a phase's checkpoints hold, when they are due, and how a phase resumes from one.

`tasks.training.checkpoint` reads and writes the files.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from tasks.training import checkpoint
from tasks.training.durations import Duration
from tasks.training.optimizer import AdamW
from tasks.training.plan import TrainingPlan
from tasks.training.progress import Progress
from tasks.training.sampler import Sampler

CHECKPOINT_S, CHECKPOINT_SHARE = 30.0, 0.02
"""By default a checkpoint is written every 30 s, or less often where that would take more than 2 %
of the time.
"""

_LOG = logging.getLogger(__name__)


class Checkpointer:
    """Saves and restores weights, moments, random state, sampler and progress."""

    def __init__(
        self, folder: Path, language_model: nn.Module, optimizer: AdamW, sampler: Sampler
    ) -> None:
        self._folder = folder
        self._language_model = language_model
        self._optimizer = optimizer
        self._sampler = sampler
        self._saved_step = 0
        self.saving_s = 0.0
        """Time that the last checkpoint took to write."""

    def restore(self, fingerprint: str) -> Progress | None:
        """Load the newest intact checkpoint; None where there is none of this plan and data."""
        loaded = checkpoint.load(self._folder)
        if loaded is None:
            return None
        tensors, state = loaded
        if state["fingerprint"] != fingerprint:
            _LOG.warning("checkpoints are of another plan or data; starting this phase over")
            shutil.rmtree(self._folder)
            return None
        progress = Progress.from_state(state)
        with torch.no_grad():
            for name, parameter in self._language_model.named_parameters():
                parameter.copy_(tensors["model"][name])
        moments = {name: tensor for name, tensor in tensors["optimizer"].items() if name != "rng"}
        self._optimizer.load_moments(moments)
        torch.set_rng_state(tensors["optimizer"]["rng"])
        self._sampler.restore(progress.rows, progress.drawn)
        self._saved_step = progress.step
        return progress

    def save(self, progress: Progress) -> None:
        """Write a checkpoint."""
        tensors: dict[str, dict[str, Tensor]] = {
            "model": dict(self._language_model.named_parameters()),
            "optimizer": {**self._optimizer.moments(), "rng": torch.get_rng_state()},
        }
        began = time.monotonic()
        checkpoint.save(self._folder, progress.step, tensors, asdict(progress))
        self.saving_s, self._saved_step = time.monotonic() - began, progress.step

    def save_new_steps(self, progress: Progress) -> None:
        """Write a checkpoint unless the last one already holds all steps."""
        if progress.step > self._saved_step:
            self.save(progress)


class CheckpointTimer:
    """Says when a checkpoint is due: every `interval`, by default by time at low cost.

    Args:
        interval: `checkpoint_every` of the recipe.
        rows: rows of the phase that were trained before the timer starts.
    """

    def __init__(self, interval: Duration | None, plan: TrainingPlan, rows: int) -> None:
        self._interval, self._plan = interval, plan
        self._last_rows, self._last_moment = rows, time.monotonic()

    def due(self, rows: int, saving_s: float) -> bool:
        """Whether to write a checkpoint after `rows` rows; if so, the next interval begins."""
        now = time.monotonic()
        if self._interval is not None:
            due = self._plan.passes(self._interval, self._last_rows, rows)
        else:
            due = now - self._last_moment >= max(CHECKPOINT_S, saving_s / CHECKPOINT_SHARE)
        if due:
            self._last_rows, self._last_moment = rows, now
        return due
