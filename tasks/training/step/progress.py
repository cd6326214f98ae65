"""How far a phase has come; with weights, moments and random state it makes up a checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.training.spec import Carried
from tasks.training.stage import TrainingParameters
from tasks.training.step.accumulation import StepLosses
from tasks.training.step.guard import Course
from tasks.training.step.loss_scale import LossScale


@dataclass
class Progress:
    """Steps and rows of a phase so far, and what its guard remembers of them."""

    fingerprint: str
    """See `fingerprint_of`."""
    step: int = 0
    """Steps completed, skipped ones included."""
    rows: int = 0
    drawn: dict[str, int] = field(default_factory=dict)
    """Rows drawn by category."""
    loss_tokens: dict[str, float] = field(default_factory=dict)
    """Tokens with a target by category, of the steps taken."""
    course: Course = field(default_factory=Course)
    first_loss: float | None = None
    skipped: int = 0
    skipped_in_a_row: int = 0
    empty: int = 0
    """Steps without a valid token, not taken."""
    loss_scale: LossScale = field(default_factory=LossScale)
    """Of fp16; other precisions leave it alone."""

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Progress:
        """From a checkpoint's state."""
        return cls(
            **{
                **state,
                "course": Course(**state["course"]),
                "loss_scale": LossScale(**state["loss_scale"]),
            }
        )

    def learn(self, losses: StepLosses, rows: Mapping[str, int], guessing: float) -> None:
        """Remember a step that is taken. `rows`: by category; `guessing`: loss of a guess."""
        of_category = {
            category: (rows.get(category, 0), losses.tokens[category], loss_sum)
            for category, loss_sum in losses.sums.items()
        }
        self.course.add(losses.mean, of_category, guessing)
        for category, targets in losses.tokens.items():
            self.loss_tokens[category] = self.loss_tokens.get(category, 0) + targets


def fingerprint_of(
    parameters: TrainingParameters, bins: Mapping[str, list[int]], carried: Carried
) -> str:
    """Hash of what a checkpoint must agree with to be continued.

    `bins`: category -> rows of its bins.
    """
    decisive = [parameters.identity(), bins, asdict(carried)]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
