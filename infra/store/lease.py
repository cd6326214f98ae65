"""An advisory lease, so that two runs do not spend hours on the same version.

Correctness does not depend on it: files are created exclusively, and a second writer of a bitwise
stage produces the same bytes. A lease is dead when its process is gone (same host), or when its
heartbeat has not changed for `STALE_S` while this process looked (another host): two hosts' clocks
differ, and one's own may be set, so that the time that a heartbeat states says little.
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
from infra.remote.errors import RemoteError
from infra.stage import StageError
from infra.store.directory import Damaged, Directory

HEARTBEAT_S = 20.0
STALE_S = 90.0
LONG_AGO_S = 86_400.0
"""A heartbeat that was a day ago by any clock need not be watched."""

POLL_S = 1.0
SETTLE_S = 1.0
"""How long another process may take between finding a dead lease and replacing it."""

_LEASE = "lease.json"


class _Watch:
    """What one waiter has seen of the heartbeats of another host."""

    def __init__(self) -> None:
        self._seen: tuple[object, float] = (None, 0.0)

    def holder(self, home: Directory) -> dict[str, Any] | None:
        """The live process that holds the lease, or None."""
        # a damaged lease counts as none: a live holder rewrites it within seconds
        with contextlib.suppress(
            FileNotFoundError, Damaged, KeyError, TypeError, ValueError, OverflowError
        ):
            lease = home.read_json(_LEASE)
            alive = is_alive(lease)
            if alive or (alive is None and self._beats(lease)):
                return lease
        return None

    def _beats(self, lease: dict[str, Any]) -> bool:
        if time.time() - lease["heartbeat"] > LONG_AGO_S:
            return False
        now, beat = time.monotonic(), (lease.get("host"), lease.get("pid"), lease["heartbeat"])
        if beat != self._seen[0]:
            self._seen = (beat, now)
        return now - self._seen[1] < STALE_S


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
    waiting, watch = False, _Watch()

    def mine() -> bytes:
        return json.dumps(me | {"heartbeat": time.time()}).encode()

    stop = threading.Event()

    def keep_beating() -> None:
        while not stop.wait(HEARTBEAT_S):
            # a store that is away for a moment, or full, must not end the beats after it
            with contextlib.suppress(OSError, StageError):
                home.impatient().replace(_LEASE, mine())

    while True:
        with _alone(home):
            holder = watch.holder(home)
            if holder is None or {key: holder.get(key) for key in me} == me:
                if _take(home, me, mine):
                    break
                holder = watch.holder(home) or me
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
        # A lease that is left behind ends with its process, or when it is stale: what was built is
        # not lost with it, nor is the error hidden that ends the block.
        with contextlib.suppress(OSError, RemoteError):
            home.impatient().remove_file(_LEASE)


def _take(home: Directory, me: dict[str, Any], mine: Callable[[], bytes]) -> bool:
    """Write the lease; whether it is ours then. Where `_alone` has no lock, a new lease is created
    exclusively, and one that replaces a dead one is looked at again after a while.
    """
    if home.local_root is not None:
        home.replace(_LEASE, mine())
        return True
    with contextlib.suppress(FileExistsError):
        home.create(_LEASE, mine())
        return True
    home.replace(_LEASE, mine())
    time.sleep(SETTLE_S)
    holder = _Watch().holder(home)
    return holder is not None and {key: holder.get(key) for key in me} == me
