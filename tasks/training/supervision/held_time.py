"""What the time went to that a phase held its machines, over restarts and later runs.

Effective training time is the time in steps whose result was kept, as a share of all the time that
the training processes ran or were being started again (Llama 3 reached 95 %).
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE = "held.json"


@dataclass(frozen=True)
class StepTime:
    """Seconds that a step took, and that a checkpoint before it kept training waiting."""

    step_s: float
    checkpoint_s: float


def step_times(metrics: Path) -> dict[int, StepTime]:
    """Step -> its times, from `metrics.jsonl`; a line that a kill cut short is left out."""
    times = {}
    if metrics.exists():
        for line in metrics.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, KeyError):
                values = json.loads(line)
                times[values["step"]] = StepTime(values["step_s"], values["checkpoint_s"])
    return times


@dataclass
class _Held:
    """Seconds by what they went to, and counts; kept in a file, as this process may be killed."""

    held_s: float = 0.0
    start_s: float = 0.0
    restart_s: float = 0.0
    redone_s: float = 0.0
    starts: int = 0
    restarts: int = 0


class HeldTime:
    """The clock of a phase.

    Args:
        scratch: folder of the phase, which later runs find again.
        clock: seconds.
    """

    def __init__(self, scratch: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._metrics = scratch / FILE, scratch / "metrics.jsonl"
        self._clock = clock
        self._held = _Held()
        with contextlib.suppress(OSError, ValueError, TypeError):
            self._held = _Held(**json.loads(self._file.read_text(encoding="utf-8")))
        self._counted = self._began = clock()
        self._before: dict[int, StepTime] = {}
        self._again = False

    def begins(self, *, again: bool) -> None:
        """The ranks are being started, `again` after a failure in this run."""
        self.count()
        if not again:
            self._began = self._counted  # else since they failed
        self._again = again
        self._held.starts += not again
        self._held.restarts += again
        self._before = step_times(self._metrics)

    def trains(self, step: int) -> None:
        """The ranks begin to train after `step` steps; those after it are done once more."""
        started_s = self._clock() - self._began
        if self._again:
            self._held.restart_s += started_s
        else:
            self._held.start_s += started_s
        self._held.redone_s += sum(
            times.step_s + times.checkpoint_s
            for number, times in self._before.items()
            if number > step
        )
        self.count()

    def failed(self) -> None:
        """The ranks have ended; a restart counts from here."""
        self.count()
        self._began = self._counted

    def count(self) -> None:
        """Take the time since the last call into account, on disk too."""
        now = self._clock()
        self._held.held_s += now - self._counted
        self._counted = now
        with contextlib.suppress(OSError):  # a full disk is told elsewhere
            partial = self._file.with_name(f".{FILE}")
            partial.write_text(json.dumps(asdict(self._held)), encoding="utf-8")
            partial.replace(self._file)

    def summary(self) -> dict[str, Any]:
        """Effective training time (0 to 1), seconds held and in steps, and seconds lost by cause.

        `other` is what is left: evaluation, writing the result, and the time until a failure was
        noticed.
        """
        self.count()
        held, kept = self._held, step_times(self._metrics).values()
        steps_s = sum(times.step_s for times in kept)
        lost = {
            "start": held.start_s,
            "restart": held.restart_s,
            "redone_steps": held.redone_s,
            "checkpoint": sum(times.checkpoint_s for times in kept),
        }
        lost["other"] = max(0.0, held.held_s - steps_s - sum(lost.values()))
        return {
            "effective": min(1.0, steps_s / held.held_s) if held.held_s else 0.0,
            "held_s": held.held_s,
            "steps_s": steps_s,
            "lost_s": lost,
            "starts": held.starts,
            "restarts": held.restarts,
        }
