"""The metrics of a step, and `metrics.jsonl`, which holds them one step a line."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.training.accumulation import StepLosses


def loss_metrics(losses: StepLosses, norm: float) -> dict[str, Any]:
    """Losses (nats), gradient norm and valid tokens of a step; None where not finite."""
    return {
        "loss": losses.mean if math.isfinite(losses.mean) else None,
        "losses": losses.by_category(),
        "grad_norm": norm if math.isfinite(norm) else None,
        "valid_tokens": losses.valid,
    }


@contextlib.contextmanager
def metrics_file(path: Path, last_step: int) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that appends a line to the file; lines after `last_step` are dropped first."""
    kept = []
    if path.exists():
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):  # a line that a kill cut short
                if json.loads(line)["step"] <= last_step:
                    kept.append(line + "\n")
    rewritten = path.with_suffix(".new")
    rewritten.write_text("".join(kept))
    rewritten.replace(path)
    with path.open("a") as file:

        def write(metrics: Mapping[str, Any]) -> None:
            file.write(json.dumps(metrics) + "\n")
            file.flush()

        yield write
