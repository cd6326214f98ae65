"""What is still to be done when a run is interrupted: work that must be saved, whatever thread it
runs in.

Stages run in threads, which no signal reaches; the main thread ends the process, and asks here
first.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

_LOCK = threading.Lock()
_WORK: dict[object, Callable[[], str]] = {}


@contextlib.contextmanager
def saved_on_interrupt(save: Callable[[], str]) -> Iterator[None]:
    """While in the block, an interrupted run calls `save` before it ends, and shows what that
    returns.
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
    """Whether anything is to be saved."""
    return bool(_WORK)


def save_all() -> list[str]:
    """Do it, one after the other; what each has to say."""
    return [save() for save in list(_WORK.values())]
