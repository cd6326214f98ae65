"""What a run does while Prefect's server is away: it goes on, and reports when the server is back.

A client that has reached the server tries again by itself, with pauses that double
(PREFECT_CLIENT_MAX_RETRIES). A new client fails at once; every stage and every card makes one.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

RETRIES = 10
"""Tries of a request: 2 + 4 + ... + 1,024 s, half an hour."""

PATIENCE_S = 1800.0
"""How long a stage waits for the server before it begins, in seconds."""

POLL_S = 2.0

_LOG = logging.getLogger(__name__)


def patient() -> contextlib.AbstractContextManager[object]:
    """Within the block, requests to the server are tried `RETRIES` times."""
    return temporary_settings({PREFECT_CLIENT_MAX_RETRIES: RETRIES})


def wait_for_server() -> None:
    """Return when the server answers, or after `PATIENCE_S`: what is asked of it next tells why."""
    deadline = time.monotonic() + PATIENCE_S
    with get_client(sync_client=True) as client:
        while client.api_healthcheck() is not None and time.monotonic() < deadline:
            time.sleep(POLL_S)


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
