"""A training process: reads a spec, trains a phase, prints progress; ends when stdin closes.

One process trains alone; torchrun starts several, of which the main one prints. Each
line of stdout is a JSON object: `{"progress": {...}}` at most twice a second (at once when
something goes wrong), and at the end `{"done": {...}}` or `{"error": reason}`. Exit status: 0 done,
1 failed (without a reason on stdout, stderr ends with a traceback), 75 interrupted and resumable.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.engine.launch import exit_with_parent
from infra.interrupts import INTERRUPTED

if TYPE_CHECKING:
    from tasks.training.ranks import Ranks

PROGRESS_S = 0.5
WATCH_S = 1.0
"""Pause between looks whether another rank has failed."""
REASON_S = 10.0
"""Time that a rank which lost the others waits to learn why."""
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
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())  # how launchers end their ranks
    # Imported late, as it takes seconds and the parent must be watched from the start.
    import filelock  # a dependency of torch, so a bare node has it

    from tasks.training.devices import DeviceError
    from tasks.training.errors import Interrupted, RankFailed, TrainingStopped
    from tasks.training.loop import Phase
    from tasks.training.plan import PlanError
    from tasks.training.probe import DocumentLeak
    from tasks.training.ranks import join
    from tasks.training.sampler import DataExhausted
    from tasks.training.spec import STOP, Spec

    reasons = (DataExhausted, DocumentLeak, PlanError, RankFailed, TrainingStopped, ValueError)
    spec = Spec.read(Path(arguments[0]))
    scratch = Path(spec.scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        ranks = join(spec.parameters.devices)
    except DeviceError as error:
        _print_message({"error": str(error)})
        return 1
    printed_s, was_wrong = 0.0, False

    def asked_to_stop() -> bool:
        return stopping.is_set() or (ranks.is_main and (scratch / STOP).exists())

    def report(metrics: dict[str, Any]) -> None:
        nonlocal printed_s, was_wrong
        wrong = bool(metrics["alarm"] or metrics["skipped"])
        newly_wrong, was_wrong = wrong and not was_wrong, wrong
        if ranks.is_main and (newly_wrong or time.monotonic() - printed_s >= PROGRESS_S):
            printed_s = time.monotonic()
            _print_message({"progress": {**metrics, "phase_total": phase.plan.tokens}})

    def fail(reason: str) -> int:
        ranks.report_failure(reason)
        if ranks.is_main:
            _print_message({"error": reason})
        else:
            sys.stderr.write(f"rank {ranks.rank}: {reason}\n")
        return 1

    end_with_others(ranks, fail)
    # A run whose parent was killed may still be saving; the kernel frees the lock when it is gone.
    with filelock.FileLock(scratch / ("lock" if ranks.is_main else f"lock-{ranks.rank}")):
        try:
            # while libraries were imported, or another run was waited for
            if ranks.any(asked_to_stop())[0]:
                raise Interrupted("stopped before the first step")
            phase = Phase(spec, ranks)
            statistics = phase.train(report, asked_to_stop)
        except Interrupted as error:
            sys.stderr.write(f"{error}\n" if ranks.is_main else "")
            return INTERRUPTED
        except reasons as error:
            return fail(str(error))
        except Exception as error:
            if ranks.world_size == 1:
                raise
            # Where another rank has failed, this one most likely lost its connection to it.
            if reason := ranks.failure(wait_s=REASON_S):
                return fail(reason)
            ranks.report_failure(f"{type(error).__name__}: {error}")
            raise
    ranks.leave()
    if ranks.is_main:
        _print_message({"done": statistics})
    return 0


def end_with_others(ranks: Ranks, fail: Callable[[str], int]) -> None:
    """End this process soon after another rank has said that it failed.

    Over Gloo a collective with a dead rank fails; over NCCL it may hang until its time is up.
    """

    def watch() -> None:
        while not (reason := ranks.failure()):
            time.sleep(WATCH_S)
        time.sleep(REASON_S)  # it may end by itself, with what it has to save
        os._exit(fail(reason))

    if ranks.world_size > 1:
        threading.Thread(target=watch, daemon=True, name="other-ranks").start()


def _print_message(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
