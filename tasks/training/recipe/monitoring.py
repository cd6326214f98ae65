"""The recipe's `training.evaluation:` and `training.tracker:`. Imports are light.

Neither decides a byte of what a phase writes, so neither is part of its version.
"""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from infra.stage import NOT_IDENTITY, Parameters
from tasks.training.recipe.durations import Duration


class InPhaseEvaluation(Parameters):
    """Held-out loss and text samples inside a phase: at its start, every interval, at its end."""

    every: Duration = pydantic.Field(
        description="tokens, rows, steps, or epochs of the phase's bins, between two evaluations"
    )
    documents: int = pydantic.Field(
        default=32,
        ge=0,
        le=100_000,
        description="held-out documents of each category that are read, the first ones; 0: none",
    )
    prompts: tuple[Annotated[str, pydantic.Field(min_length=1)], ...] = pydantic.Field(
        default=(),
        max_length=64,
        description="texts that the model continues, greedily and by drawing",
    )
    tokens: int = pydantic.Field(
        default=40, gt=0, le=2048, description="tokens of each continuation"
    )
    temperature: float = pydantic.Field(
        default=0.8, gt=0, le=10, description="divides the logits of continuations that are drawn"
    )

    @pydantic.model_validator(mode="after")
    def _does_something(self) -> InPhaseEvaluation:
        if not self.every.amount:
            raise ValueError(f"every: {self.every} is no interval; state more")
        if not self.documents and not self.prompts:
            raise ValueError(
                "documents is 0 and there are no prompts, so nothing would be evaluated; state "
                "one of them, or remove training.evaluation"
            )
        return self


Tracker = Literal["none", "trackio", "wandb"]

EvaluationField = Annotated[
    InPhaseEvaluation | None,
    NOT_IDENTITY,
    pydantic.Field(
        description="held-out loss and text samples inside each phase, by the model as it trains"
    ),
]
TrackerField = Annotated[
    Tracker,
    NOT_IDENTITY,
    pydantic.Field(
        description="also send metrics to trackio or wandb (extras of the same names), as their "
        "own environment variables say; TensorBoard files and JSONL are always written"
    ),
]
