"""Work that must be saved before an interrupted run ends.

Stages run in threads, which signals do not reach. The main thread ends the process, and calls
`save_all` first.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

INTERRUPTED = 75
"""Exit status of a process that was interrupted and can be resumed (EX_TEMPFAIL of sysexits.h)."""

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


def pending() -> bool:
    """Whether there is anything to save."""
    return bool(_WORK)


def save_all() -> list[str]:
    """Save everything, one after the other; returns the lines to print."""
    return [save() for save in list(_WORK.values())]
