"""How hard one host is asked, over all processes of this machine that share a cache.

Connections are slots, files that are locked while one is open; turns to retry are times that are
handed out one after the other. The kernel frees the locks of a killed process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from infra.remote.access import Access
from infra.remote.errors import Stopped

_POLL_S = 0.01
_MOST_AHEAD_S = 600.0
"""A turn further ahead than this is from before the machine was started."""


@contextlib.contextmanager
def connection(host: str, access: Access, stop: threading.Event | None = None) -> Iterator[None]:
    """Hold one of `access.connections` slots of a host; waits while all are taken. Raises `Stopped`
    when `stop` is set meanwhile.
    """
    folder = _folder(host, access)
    slots = list(range(access.connections))
    random.shuffle(slots)
    while True:
        for slot in slots:
            handle = os.open(folder / f"connection-{slot}", os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            try:
                yield
            finally:
                os.close(handle)
            return
        if stop is not None and stop.is_set():
            raise Stopped
        time.sleep(_POLL_S)


def retry_turn(host: str, access: Access) -> float:
    """Seconds to wait for this host's next turn to retry: at most one every
    `access.retry_interval_s`.
    """
    with (_folder(host, access) / "retries").open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        now = time.monotonic()  # of the whole machine, and never set
        turn = now
        with contextlib.suppress(ValueError):  # half a number of a killed process
            turn = max(now, float(stream.read() or 0) + access.retry_interval_s)
        if turn > now + _MOST_AHEAD_S:
            turn = now
        stream.seek(0)
        stream.truncate()
        stream.write(repr(turn))
    return turn - now


def _folder(host: str, access: Access) -> Path:
    folder = access.cache / "hosts" / re.sub(r"[^A-Za-z0-9.-]", "_", host)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
