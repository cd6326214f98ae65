"""The metrics of a step."""

from __future__ import annotations

import math
from typing import Any

from tasks.training.step.accumulation import StepLosses


def loss_metrics(losses: StepLosses, norm: float) -> dict[str, Any]:
    """Losses (nats), gradient norm and valid tokens of a step; None where not finite."""
    return {
        "loss": losses.mean if math.isfinite(losses.mean) else None,
        "losses": losses.by_category(),
        "grad_norm": norm if math.isfinite(norm) else None,
        "valid_tokens": losses.valid,
    }
