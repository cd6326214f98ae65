"""A training process: reads a spec, trains a phase, prints progress; ends when stdin closes.

One process trains alone; torchrun starts several, of which the main one prints. Each
line of stdout is a JSON object: `{"training": {"step": N}}` once the model is loaded and N steps
are done, `{"progress": {...}}` at most twice a second (at once when something goes wrong), and at
the end `{"done": {...}}` or `{"error": reason}`. Exit status: 0 done,
1 failed (without a reason on stdout, stderr ends with a traceback), 75 interrupted and resumable.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.engine.launch import exit_with_parent
from infra.interrupts import INTERRUPTED
from tasks.training.supervision.rank_record import ALIVE, Ending, RankRecorder, rank_of_environment

if TYPE_CHECKING:
    from tasks.training.distributed.ranks import Ranks

ALIVE_PATIENCE_S = 300.0
"""Longer than network file systems keep what they know of a file."""

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
    stopping, has_work = threading.Event(), threading.Event()

    def stop() -> None:
        stopping.set()
        if not has_work.is_set():  # nothing to save; it may wait for ranks that never come
            record.ended("interrupted")
            os._exit(INTERRUPTED)

    folder = json.loads(Path(arguments[0]).read_text(encoding="utf-8")).get("supervised")
    record = RankRecorder(Path(folder) if folder else None, *rank_of_environment())
    exit_with_parent(stop, grace_s=GRACE_S, status=INTERRUPTED)
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    ended_by_launcher = threading.Event()

    def terminate() -> None:
        ended_by_launcher.set()
        stop()

    on_termination(terminate)  # how launchers end their ranks
    # Imported late, as it takes seconds and the parent must be watched from the start.
    import filelock  # a dependency of torch, so a bare node has it

    from tasks.training.distributed.ranks import is_lost_connection, join
    from tasks.training.errors import Interrupted, OutOfMemory, RankFailed, TrainingStopped
    from tasks.training.loop import Phase
    from tasks.training.model.probe import DocumentLeak
    from tasks.training.planning.plan import PlanError
    from tasks.training.planning.sampler import DataExhausted
    from tasks.training.recipe.devices import DeviceError
    from tasks.training.spec import STOP, Spec
    from tasks.training.supervision.memory_words import is_out_of_memory, out_of_memory

    reasons = (DataExhausted, DocumentLeak, PlanError, TrainingStopped, ValueError)
    spec = Spec.read(Path(arguments[0]))
    scratch = Path(spec.scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    if folder and spec.parameters.devices.launcher:
        end_without_supervisor(Path(folder) / ALIVE, stop)
    try:
        ranks = join(spec.parameters.devices)
    except DeviceError as error:
        record.ended("error", str(error))
        _print_message({"error": str(error)})
        return 1
    record.reached("joined")
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

    def fail(reason: str, ending: Ending = "error") -> int:
        record.ended(ending, reason)
        ranks.report_failure(reason)
        if ranks.is_main:
            _print_message({"error": reason})
        else:
            sys.stderr.write(f"rank {ranks.rank}: {reason}\n")
        return 1

    finished = threading.Event()
    end_with_others(ranks, lambda reason: fail(reason, "lost"), finished)
    # A run whose parent was killed may still be saving; the kernel frees the lock when it is gone.
    with filelock.FileLock(scratch / ("lock" if ranks.is_main else f"lock-{ranks.rank}")):
        record.reached("loading")
        try:
            # while libraries were imported, or another run was waited for
            if ranks.any(asked_to_stop())[0]:
                raise Interrupted("stopped before the first step")
            phase = Phase(spec, ranks)
            has_work.set()
            record.reached("training")
            if ranks.is_main:
                _print_message({"training": {"step": phase.progress.step}})
            statistics = phase.train(report, asked_to_stop)
        except Interrupted as error:
            record.ended("interrupted")
            sys.stderr.write(f"{error}\n" if ranks.is_main else "")
            return INTERRUPTED
        except OutOfMemory as error:
            return fail(str(error), "memory")
        except RankFailed as error:
            return fail(str(error), "lost")
        except reasons as error:
            return fail(str(error))
        except Exception as error:
            if is_out_of_memory(error):  # in steps it is told as OutOfMemory
                when, device = "while the model was loaded", str(ranks.device)
                return fail(out_of_memory(spec.parameters, when, device, error), "memory")
            if full := _disk_full(error, scratch):
                return fail(full)
            # Where another rank has failed, this one most likely lost its connection to it.
            # Once the launcher ends the others, its reason is there or never will be.
            if reason := ranks.failure(REASON_S, ended_by_launcher.is_set):
                return fail(reason, "lost")
            said = f"{type(error).__name__}: {error}"
            record.ended("lost" if is_lost_connection(error) else "unforeseen", said)
            ranks.report_failure(said)
            raise
    finished.set()
    ranks.leave()
    record.ended("done")
    if ranks.is_main:
        _print_message({"done": statistics})
    return 0


def _disk_full(error: Exception, scratch: Path) -> str:
    """A sentence for an error that says that a disk is full; "" for any other."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    place = str(error.filename or scratch)
    return (
        f"the disk is full: {place} could not be written ({error.strerror}, "
        f"{shutil.disk_usage(scratch).free:,} bytes free). Make room and run again"
    )


def on_termination(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM from a thread: a handler of Python's would wait until the main thread
    returns from C, which a rank that waits for dead ones does not do.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    os.register_at_fork(after_in_child=_forget_signals)  # else theirs would end this process

    def watch() -> None:
        while os.read(read, 1) != bytes([signal.SIGTERM]):
            pass
        stop()

    threading.Thread(target=watch, daemon=True, name="termination").start()


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def end_without_supervisor(alive: Path, stop: Callable[[], None]) -> None:
    """Call `stop` once the file `alive` has not changed for `ALIVE_PATIENCE_S`: the process that
    supervises the ranks is gone, and no pipe of it reaches them under a launcher.
    """

    def watch() -> None:
        seen, since = "", time.monotonic()
        while time.monotonic() - since < ALIVE_PATIENCE_S:
            time.sleep(ALIVE_PATIENCE_S / 20)
            try:
                now = alive.read_text(encoding="utf-8")
            except OSError:
                continue
            if now != seen:
                seen, since = now, time.monotonic()
        stop()
        time.sleep(GRACE_S)
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, daemon=True, name="supervisor").start()


def end_with_others(ranks: Ranks, fail: Callable[[str], int], finished: threading.Event) -> None:
    """End this process soon after another rank has said that it failed, or the main one is gone;
    not once `finished` is set.

    Over Gloo a collective with a dead rank fails, but only where it talks to that rank; over NCCL
    it may hang until its time is up.
    """

    def watch() -> None:
        while not (reason := ranks.failure()):
            time.sleep(WATCH_S)
        # it may end by itself, with what it has to save
        if not finished.wait(REASON_S):
            os._exit(fail(reason))

    if ranks.world_size > 1:
        threading.Thread(target=watch, daemon=True, name="other-ranks").start()


def _print_message(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
