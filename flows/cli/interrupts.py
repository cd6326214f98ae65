"""What ^C and SIGTERM do to a command that runs a recipe.

From the signal to the exit code:

1. `interruptible` sets the handlers; only the main thread gets signals. The handler raises
   KeyboardInterrupt, or during imports (`importing`) ends the process at once. Cancel on the
   dashboard is a SIGTERM too (`flows.monitoring.cancelling`).
2. The exception leaves `flows.running.walk`, whose threads are not waited for. `flows.pipeline`
   records the run as interrupted, and `infra.interrupts.save_aloud` calls what stages registered:
   `tasks.training.run` asks its process to stop, which writes a checkpoint and exits
   (`tasks.training.worker`). The flow runs of the run and its stages become Interrupted or
   Cancelled.
3. `interruptible` catches the exception.
4. The process exits with `INTERRUPTED` (75: resumable). Processes of stages end when their stdin
   closes (`infra.engine.launch.exit_with_parent`), workers when their parent is gone
   (`infra.engine.processes`).
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

import typer

from flows.cli.common import EXIT_INTERRUPTED
from infra import interrupts


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """End with `EXIT_INTERRUPTED` on ^C or SIGTERM."""
    interrupted = False

    def interrupt(signum: int, frame: object) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    with _on_interrupt(interrupt):
        try:
            yield
        except typer.Exit:
            raise
        # Catches everything, because pydantic, for one, replaces an interrupt with its own error.
        except BaseException as error:
            if not interrupted and not isinstance(error, KeyboardInterrupt):
                raise
            _end_interrupted()


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """End at once on ^C or SIGTERM while libraries are imported: they may drop an interrupt, or
    turn it into an import error.
    """
    with _on_interrupt(lambda signum, frame: _end_interrupted()):
        yield


@contextlib.contextmanager
def _on_interrupt(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    signals = [signal.SIGTERM]
    # Shells start a script's background jobs with SIGINT ignored; keep it so.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signals.append(signal.SIGINT)
    before = [(number, signal.signal(number, handler)) for number in signals]
    try:
        yield
    finally:
        for number, earlier in before:
            signal.signal(number, earlier)


def _end_interrupted() -> NoReturn:
    interrupts.save_aloud()
    # No orderly shutdown: threads may be inside a stage, and the store does not need it.
    try:
        interrupts.tell(
            "interrupted; finished work is kept; run the same command again to continue"
        )
    finally:  # also on another ^C
        os._exit(EXIT_INTERRUPTED)
