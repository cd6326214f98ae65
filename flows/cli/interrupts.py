"""What ^C and SIGTERM do to a command that runs a recipe."""

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
        # Catches everything, because pydantic, for one, replaces an interrupt by its own error.
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


def _save_on_interrupt() -> None:
    """Let training write a checkpoint, and say where the next run continues. A second ^C ends the
    wait.
    """
    if not interrupts.pending():
        return
    os.write(2, b"interrupted; training writes a checkpoint (^C again does not wait for it)\n")
    with contextlib.suppress(KeyboardInterrupt):
        for line in interrupts.save_all():
            os.write(2, f"{line}\n".encode())


def _end_interrupted() -> NoReturn:
    _save_on_interrupt()
    os.write(2, b"interrupted; what is finished is kept, run the same command again to go on\n")
    # No orderly shutdown: threads may be inside a stage, and the store does not need it.
    os._exit(EXIT_INTERRUPTED)
