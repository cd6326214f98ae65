"""Trying again what fails in passing: longer and longer waits with jitter, in turn with others."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from infra.remote.access import Access
from infra.remote.errors import Stopped, Transient, Unreachable
from infra.remote.pacing import retry_turn

T = TypeVar("T")

LONGEST_WAIT_S = 30.0


def persist(
    attempt: Callable[[], T],
    what: str,
    host: str,
    access: Access,
    stop: threading.Event | None = None,
) -> T:
    """The result of `attempt`, tried again while it raises `Transient`.

    Raises `Unreachable` when nothing got on for `access.retry_limit_s`, or when the server asks for
    a longer wait; `Stopped` when `stop` is set.
    """
    failures, since = 0, time.monotonic()
    while True:
        try:
            return attempt()
        except Transient as trouble:
            now = time.monotonic()
            if trouble.progress:
                failures, since = 0, now
            failures += 1
            wait_s = max(trouble.wait_s, backoff(failures, access.retry_interval_s))
            if now - since + wait_s > access.retry_limit_s:
                asked = f" (it asks for {trouble.wait_s:.0f} s)" if trouble.wait_s else ""
                raise Unreachable(
                    f"{what}: {trouble.why}{asked}; gave up after {_tries(failures)} in "
                    f"{now - since:.0f} s. Check the network and the address, or try again later"
                ) from None
            _wait(wait_s, stop)
            _wait(retry_turn(host, access), stop)


def backoff(failures: int, interval_s: float) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, give or take a half."""
    longest: float = min(LONGEST_WAIT_S, interval_s * 2.0 ** min(failures - 2, 20))
    return longest * random.uniform(0.5, 1.5)


def _tries(count: int) -> str:
    return "one try" if count == 1 else f"{count} tries"


def _wait(seconds: float, stop: threading.Event | None) -> None:
    if stop is None:
        time.sleep(max(seconds, 0))
    elif stop.wait(max(seconds, 0)):
        raise Stopped
