"""Identifies a process in the files it writes, and tells later whether it is still running."""

from __future__ import annotations

import os
import socket
from typing import Any

import psutil

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def process_identity() -> dict[str, Any]:
    """Host, pid and start of this process, enough to tell later whether it is still running."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _process_start(os.getpid()),
    }


def is_alive(owner: dict[str, Any]) -> bool | None:
    """Whether the process of a `process_identity` is running; None if it is on another host."""
    if owner.get("host") != socket.gethostname():
        return None
    started = _process_start(int(owner["pid"]))
    return started is not None and started == owner.get("started")


def _process_start(pid: int) -> str | None:
    """Start of a process in clock ticks since boot; None when it is gone or a zombie.

    psutil's start, in seconds since 1970, moves when the clock is set: every process that was
    running then would seem dead. The boot time moves with it, so the difference stays; on Linux it
    is field 22 of `/proc/PID/stat`.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        while True:
            boot = psutil.boot_time()
            since_boot_s = psutil.Process(pid).create_time() - boot
            if psutil.boot_time() == boot:  # else the clock was set between the two calls
                return str(round(since_boot_s * _TICKS_PER_S))
    except (psutil.Error, ValueError):  # ValueError: a negative pid
        return None
