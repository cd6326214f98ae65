"""Everything a phase writes for those who watch it: the main rank's files, curves and tracker.

    scratch/metrics.jsonl       one line a step
    scratch/evaluations.jsonl   one line an evaluation, beside samples.jsonl (evaluation.py)
    records/tensorboard/        the same as curves and texts, over tokens of the run

Curves lie over tokens and not over steps: phases then follow each other, and runs with other
batches can be compared. A tracker gets the step, and tokens as a value.

All is opened before weights are loaded, so that a folder that cannot be written is told at once.
Later, a TensorBoard file that cannot be written (a full disk) is left out with a warning; metrics
that cannot be written end the phase, which continues from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from tasks.training.errors import TrainingStopped
from tasks.training.monitoring.evaluation import EvaluationFiles
from tasks.training.monitoring.events import EventFile
from tasks.training.monitoring.lines import LineFile
from tasks.training.monitoring.meter import TimeLeft, memory_bytes
from tasks.training.monitoring.names import METRICS, TENSORBOARD
from tasks.training.monitoring.trackers import Tracking
from tasks.training.spec import Spec

T = TypeVar("T")

_LOG = logging.getLogger(__name__)


class Monitor:
    """See the module's docstring; for the main rank only.

    Args:
        step: of the phase, after which it begins or continues.
        tokens: of the run, at that step.
        total: tokens of the phase.
        id: the same when the phase is resumed.

    Raises:
        TrainingStopped: a file cannot be written.
    """

    def __init__(
        self, spec: Spec, device: torch.device, *, step: int, tokens: int, total: int, id: str
    ) -> None:
        scratch = Path(spec.scratch)
        folder = Path(spec.events) if spec.events else scratch / TENSORBOARD
        self._device, self._total, self._left = device, total, TimeLeft()
        self._began, self._steps_s = time.monotonic(), 0.0
        self._metrics = _opened(scratch, lambda: LineFile(scratch / METRICS, step))
        self.evaluations = _opened(scratch, lambda: EvaluationFiles(scratch, step))
        self._events: EventFile | None = _opened(folder, lambda: EventFile(folder, tokens))
        config = spec.parameters.model_dump(mode="json", by_alias=True)
        # A tracker cannot take points back: what it had before a kill is not sent again.
        self._tracked = self._metrics.reached
        self._tracking = Tracking(spec.parameters.tracker, spec.name, id, config, folder.parent)

    def step(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Write the metrics of a step; returns them with `memory` (bytes), the time left (`left_s`)
        and the share of this process's time that went to steps (`effective`).
        """
        self._steps_s += metrics["step_s"]
        found = {
            **metrics,
            "memory": memory_bytes(self._device),
            "left_s": self._left.after(metrics["phase_tokens"], self._total),
            "effective": self._steps_s / max(time.monotonic() - self._began, self._steps_s),
        }
        try:
            self._metrics.write(found)
        except OSError as error:
            raise TrainingStopped(
                f"metrics of step {metrics['step']} cannot be written ({error}); free space or "
                "correct the permissions of that folder and run again: the phase continues from "
                "its last checkpoint"
            ) from error
        self._show(metrics["step"], metrics["tokens"], curves(found))
        return found

    def evaluation(self, at: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        """Write an evaluation. `at`: step, rows, tokens and phase_tokens."""
        try:
            self.evaluations.write(dict(at), dict(found))
        except OSError as error:
            _LOG.warning("the evaluation after step %d cannot be written (%s)", at["step"], error)
        texts = {
            f"samples/{number}": sample_text(sample)
            for number, sample in enumerate(found["samples"], 1)
        }
        self._show(at["step"], at["tokens"], held_out_curves(found), texts)

    def _show(
        self,
        step: int,
        tokens: int,
        values: Mapping[str, float],
        texts: Mapping[str, str] | None = None,
    ) -> None:
        if self._events is not None:
            try:
                if values:
                    self._events.scalars(tokens, values)
                if texts:
                    self._events.texts(tokens, texts)
            except OSError as error:
                _LOG.warning(
                    "TensorBoard's file cannot be written any more (%s); training goes on, and "
                    "%s has every step",
                    error,
                    METRICS,
                )
                self._events = None
        if self._tracking.is_on and values and step > self._tracked:
            self._tracking.log({**values, "tokens": tokens}, step)

    def close(self) -> None:
        """Close all files, and end the tracker's run."""
        for file in (self._metrics, self.evaluations, self._events):
            if file is not None:
                with contextlib.suppress(OSError):  # what could not be written was told before
                    file.close()
        self._tracking.close()


def _opened(folder: Path, opening: Callable[[], T]) -> T:
    try:
        return opening()
    except OSError as error:
        raise TrainingStopped(
            f"{folder} cannot be written ({error.strerror or error}), where metrics and "
            "TensorBoard files of this phase go; free space there or correct its permissions, and "
            "run again"
        ) from error


def curves(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Tag -> value of a step's metrics; what is None or missing has no point."""
    found = {
        "training/loss": metrics["loss"],
        "training/learning rate": metrics["lr"],
        "training/gradient norm": metrics["grad_norm"],
        "training/step not taken": float(bool(metrics["skipped"])),
        "speed/tokens per second": metrics["tokens_per_s"],
        "speed/MFU": metrics.get("mfu"),
        "speed/effective training time": metrics.get("effective"),
        "speed/steps": metrics["step"],
    }
    found |= {f"loss by category/{name}": loss for name, loss in metrics["losses"].items()}
    found |= {f"memory/{name} GB": size / 1e9 for name, size in metrics["memory"].items()}
    rows = sum(metrics["drawn"].values())
    for kind in ("drawn", "due"):
        for name, count in metrics.get(kind, {}).items():
            word = "planned" if kind == "due" else kind
            found[f"mixture/{name} {word}"] = count / rows if rows else None
    return {tag: float(value) for tag, value in found.items() if value is not None}


def held_out_curves(found: Mapping[str, Any]) -> dict[str, float]:
    """Tag -> value of an evaluation."""
    values = {}
    for name, scores in {**found["categories"], "all": found}.items():
        values[f"held-out bits per byte/{name}"] = scores.get("bits_per_byte")
        values[f"held-out loss/{name}"] = scores.get("loss")
    return {tag: value for tag, value in values.items() if value is not None}


def sample_text(sample: Mapping[str, str]) -> str:
    """Markdown of a prompt and its continuations; the texts are shown as they are."""
    parts = []
    for kind in ("prompt", "greedy", "sampled"):
        lines = sample[kind].splitlines() or [""]
        parts.append(f"{kind}:\n\n" + "\n".join(f"    {line}" for line in lines))
    return "\n\n".join(parts)
