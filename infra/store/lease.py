"""An advisory lease, so that two runs do not spend hours on the same version.

Correctness does not rest on it: files are created exclusively and a second writer of a bitwise
stage ends with the same bytes. A lease is dead when its process is gone (same host) or its
heartbeat is older than `STALE_S` (another host).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from infra.store.directory import Damaged, Directory

HEARTBEAT_S = 20.0
STALE_S = 90.0
POLL_S = 1.0
_LEASE = "lease.json"


def process_identity() -> dict[str, Any]:
    """Host, pid and start of this process: enough to tell later whether it still lives."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _process_start(os.getpid()),
    }


def is_alive(owner: dict[str, Any]) -> bool | None:
    """Whether the process of a `process_identity` lives; None when it ran on another host."""
    if owner.get("host") != socket.gethostname():
        return None
    start = _process_start(int(owner["pid"]))
    return start is not None and start == owner.get("started")


def _process_start(pid: int) -> str | None:
    """Kernel start time of a process (Linux), or its bare existence elsewhere; None when it is gone
    or a zombie.
    """
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    if Path("/proc/self").is_dir():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "alive"
    return "alive"


def _holder(home: Directory) -> dict[str, Any] | None:
    # A lease that is damaged is nobody's: a living holder writes it anew within seconds.
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
    """One process or thread at a time, on file systems with locks: two runs that start at once both
    saw no lease.
    """
    with contextlib.ExitStack() as stack:
        if home.local_root is not None:
            home.local_root.mkdir(parents=True, exist_ok=True)
            folder = os.open(home.local_root, os.O_RDONLY)
            stack.callback(os.close, folder)
            with contextlib.suppress(OSError):  # no locks there, or not of folders
                fcntl.flock(folder, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def lease(home: Directory, on_wait: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Hold the lease of a version's folder; waits while a living run holds it, calling
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
