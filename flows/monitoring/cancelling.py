"""Cancel on the dashboard ends a run as ^C does.

Prefect's workers end the flow runs that they started. Nobody ends those of `puna run`, nor a single
stage; so a run asks for its own state every `POLL_S` seconds.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from flows.monitoring.flow_runs import UNFINISHED, stages_of

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

POLL_S = 3.0
"""Seconds between two looks at the state; each costs the server about 10 ms."""


@contextlib.contextmanager
def watched(flow_run: UUID, *, itself: bool) -> Iterator[threading.Event]:
    """Within the block, send this process SIGTERM once somebody cancels one of the run's stages, or
    with `itself` the run. The event that is yielded is set before that.
    """
    cancelled, ended = threading.Event(), threading.Event()

    def watch() -> None:
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            while not ended.wait(POLL_S):
                # A server that does not answer cannot cancel; the run goes on without it.
                with contextlib.suppress(Exception):
                    if _is_cancelled(client, flow_run, itself=itself) and not ended.is_set():
                        cancelled.set()
                        os.kill(os.getpid(), signal.SIGTERM)
                        return

    context = contextvars.copy_context()  # has the address of Prefect's server
    threading.Thread(target=context.run, args=(watch,), daemon=True, name="cancelling").start()
    try:
        yield cancelled
    finally:
        ended.set()


def _is_cancelled(client: SyncPrefectClient, flow_run: UUID, *, itself: bool) -> bool:
    asked = ("CANCELLING", "CANCELLED")
    if itself and client.read_flow_run(flow_run).state_type in asked:
        return True
    return bool(stages_of(client, flow_run, asked))


def close_stages(flow_run: UUID, name: str, message: str) -> None:
    """Give the unfinished stages of an interrupted run a state of type CANCELLED."""
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled

    with get_client(sync_client=True) as client:
        for stage in stages_of(client, flow_run, UNFINISHED):
            client.set_flow_run_state(stage, Cancelled(name=name, message=message), force=True)
