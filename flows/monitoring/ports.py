"""Ports for servers on this machine, each claimed until its server ends."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable


def claimed(wanted: Iterable[int]) -> tuple[int, socket.socket | None]:
    """The first port that is free, and a claim on it, which the server holds until it ends; no
    claim if none is.

    A server listens only seconds after its start. Without a claim, two servers with different home
    folders that start together would both find the port free, and the second run would mistake the
    first server for its own. (Abstract sockets, which need no file, exist on Linux only.)
    """
    port = 0
    for port in wanted:
        if (claim := _claim(port)) is not None:
            return port, claim
    return port, None


def _claim(port: int) -> socket.socket | None:
    claim = socket.socket(socket.AF_UNIX)
    try:
        if sys.platform == "linux":
            claim.bind(f"\0puna-dashboard-{port}")
        if _is_free(port):
            return claim
    except OSError:
        pass
    claim.close()
    return None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True
