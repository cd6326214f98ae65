"""What a run does while Prefect's server is away: it goes on, and reports when the server is back.

Prefect's client tries again for a minute if it has reached the server before, and fails at once if
not; every stage and every card makes a new one.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

PATIENCE_S = 1800.0
"""How long a stage or a run waits for the server before it begins or ends, in seconds."""

POLL_S = 2.0

_LOG = logging.getLogger(__name__)


def wait_for_server() -> None:
    """Return when the server answers, or after `PATIENCE_S`: what is asked of it next tells why."""
    deadline = time.monotonic() + PATIENCE_S
    with get_client(sync_client=True) as client:
        while client.api_healthcheck() is not None and time.monotonic() < deadline:
            time.sleep(POLL_S)


def begin_when_answered(begin: Callable[[], None], begun: threading.Event) -> None:
    """Call `begin` when the server answers; again, if the server goes between that answer and the
    moment that `begun` is set.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        wait_for_server()
        try:
            return begin()
        except httpx.TransportError:
            if begun.is_set() or time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)


@contextlib.contextmanager
def waiting_for_server() -> Iterator[None]:
    """Leave the block when the server answers, also by an error: the state that follows is set
    then. An interrupt does not wait.
    """
    try:
        yield
    except Exception:
        wait_for_server()
        raise
    wait_for_server()


@contextlib.contextmanager
def unless_away(what: str) -> Iterator[None]:
    """Leave out what is for the dashboard only where the server is away or cannot answer."""
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}):
            yield
    except (httpx.TransportError, httpx.HTTPStatusError) as error:
        if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
            raise
        _LOG.warning("not shown: %s (%s: %s)", what, type(error).__name__, error)
