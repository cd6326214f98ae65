"""An advisory lease, so that two runs do not spend hours on the same version.

Correctness does not depend on it: files are created exclusively, and a second writer of a bitwise
stage produces the same bytes. A lease is dead when its process is gone (same host) or its heartbeat
is older than `STALE_S` (another host).
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import filelock

from infra.process import is_alive, process_identity
from infra.store.directory import Damaged, Directory

HEARTBEAT_S = 20.0
STALE_S = 90.0
POLL_S = 1.0
_LEASE = "lease.json"


def _holder(home: Directory) -> dict[str, Any] | None:
    """The live process that holds the lease, or None."""
    # a damaged lease counts as none: a live holder rewrites it within seconds
    with contextlib.suppress(
        FileNotFoundError, Damaged, KeyError, TypeError, ValueError, OverflowError
    ):
        lease = home.read_json(_LEASE)
        alive = is_alive(lease)
        if alive or (alive is None and time.time() - lease["heartbeat"] < STALE_S):
            return lease
    return None


@contextlib.contextmanager
def _alone(home: Directory) -> Iterator[None]:
    """Admit one process or thread at a time, on file systems with locks. Otherwise two runs that
    start together could both see no lease.

    The folder itself is locked, so that no lock file is left in the store.
    """
    with contextlib.ExitStack() as stack:
        if home.local_root is not None:
            home.local_root.mkdir(parents=True, exist_ok=True)
            folder = os.open(home.local_root, os.O_RDONLY)
            stack.callback(os.close, folder)
            with contextlib.suppress(OSError):  # a file system without locks, or not on folders
                filelock.lock_descriptor(folder)
        yield


@contextlib.contextmanager
def lease(home: Directory, on_wait: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Hold the lease of a version's folder. Waits while a live run holds it, after calling
    `on_wait(holder)` once.
    """
    me = process_identity() | {"thread": threading.get_ident()}
    waiting = False

    def beat() -> None:
        home.replace(_LEASE, json.dumps(me | {"heartbeat": time.time()}).encode())

    stop = threading.Event()

    def keep_beating() -> None:
        while not stop.wait(HEARTBEAT_S):
            beat()

    while True:
        with _alone(home):
            holder = _holder(home)
            if holder is None or {key: holder.get(key) for key in me} == me:
                beat()
                break
        if not waiting:
            on_wait(holder)
            waiting = True
        time.sleep(POLL_S)
    thread = threading.Thread(target=keep_beating, daemon=True, name="lease")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        home.remove(_LEASE)
