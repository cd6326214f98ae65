"""The training process: reads a spec, trains a phase, prints progress; ends when stdin closes.

Each line of stdout is a JSON object: `{"progress": {...}}` at most twice a second (at once when
something goes wrong), and at the end `{"done": {...}}` or `{"error": reason}`. Exit status: 0 done,
1 failed (without a reason on stdout, stderr ends with a traceback), 75 interrupted and resumable.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from infra.engine.launch import exit_with_parent
from infra.interrupts import INTERRUPTED

PROGRESS_S = 0.5
GRACE_S = 110.0
"""Time to end the current micro-batch and write a checkpoint (10 GB at 100 MB/s); the parent waits
a little longer.
"""


def main(arguments: list[str]) -> int:
    """Run `python -m tasks.training SPEC.json`."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m tasks.training SPEC.json\n")
        return 2
    stopping = threading.Event()
    exit_with_parent(stopping.set, grace_s=GRACE_S, status=INTERRUPTED)
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    # Imported late, as it takes seconds and the parent must be watched from the start.
    import filelock  # a dependency of torch, so a bare node has it

    from tasks.training.errors import Interrupted, TrainingStopped
    from tasks.training.loop import Phase
    from tasks.training.plan import PlanError
    from tasks.training.probe import DocumentLeak
    from tasks.training.sampler import DataExhausted
    from tasks.training.spec import STOP, Spec

    spec = Spec.read(Path(arguments[0]))
    Path(spec.scratch).mkdir(parents=True, exist_ok=True)
    stop = Path(spec.scratch) / STOP
    printed_s, was_wrong = 0.0, False

    def asked_to_stop() -> bool:
        return stopping.is_set() or stop.exists()

    def report(metrics: dict[str, Any]) -> None:
        nonlocal printed_s, was_wrong
        wrong = bool(metrics["alarm"] or metrics["skipped"])
        newly_wrong, was_wrong = wrong and not was_wrong, wrong
        if newly_wrong or time.monotonic() - printed_s >= PROGRESS_S:
            printed_s = time.monotonic()
            _print_message({"progress": {**metrics, "phase_total": phase.plan.tokens}})

    # A run whose parent was killed may still be saving; the kernel frees the lock when it is gone.
    with filelock.FileLock(Path(spec.scratch) / "lock"):
        try:
            if asked_to_stop():  # while libraries were imported, or another run was waited for
                raise Interrupted("stopped before the first step")
            phase = Phase(spec)
            statistics = phase.train(report, asked_to_stop)
        except Interrupted as error:
            sys.stderr.write(f"{error}\n")
            return INTERRUPTED
        except (DataExhausted, DocumentLeak, PlanError, TrainingStopped, ValueError) as error:
            _print_message({"error": str(error)})
            return 1
    _print_message({"done": statistics})
    return 0


def _print_message(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
