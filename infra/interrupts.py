"""Work that must be saved before an interrupted run ends.

Stages run in threads, which signals do not reach. The main thread ends the process, and calls
`save_aloud` first.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

INTERRUPTED = 75
"""Exit status of a process that was interrupted and can be resumed (EX_TEMPFAIL of sysexits.h)."""

ENDING = threading.Event()
"""Set once an interrupt ends this process: no stage that breaks off because of that has failed."""

_LOCK = threading.Lock()
_WORK: dict[object, Callable[[], str]] = {}


@contextlib.contextmanager
def saved_on_interrupt(save: Callable[[], str]) -> Iterator[None]:
    """Within the block, a run that is interrupted calls `save` before it ends, and prints the line
    that `save` returns.
    """
    key = object()
    with _LOCK:
        _WORK[key] = save
    try:
        yield
    finally:
        with _LOCK:
            _WORK.pop(key, None)


def save_all() -> list[str]:
    """Save everything, one after the other and once; returns the lines to print."""
    with _LOCK:
        work = list(_WORK.values())
        _WORK.clear()
    return [save() for save in work]


def save_aloud() -> None:
    """Save everything, and say on stderr where the next run continues. ^C ends the wait."""
    if not _WORK:
        return
    with contextlib.suppress(KeyboardInterrupt):
        tell("interrupted; training writes a checkpoint (^C again does not wait for it)")
        for line in save_all():
            tell(line)


def tell(line: str) -> None:
    """Write a line to stderr, which may be gone: ^C ends `tee` as well, before it ends us."""
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode())
