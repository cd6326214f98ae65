"""Takes back what a worker of `puna serve` had taken and not started when it ended.

Such a run stays Pending, and runs that are due wait for it: nobody tells Prefect's server that the
worker is gone. The process here sees it by a pipe, which the kernel closes however the worker ends.
Until then it has imported the standard library alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from infra.engine.launch import BOOTSTRAP, safe_environment

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

PATIENCE_S = 60.0
"""How long runs that were told to end may take: training writes a checkpoint."""
POLL_S = 1.0
LABEL = "prefect.worker.name"


def guard(worker: str) -> None:
    """Start the guard of this process, which is to become the worker of that name."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)  # stays open in the worker, and not in what it starts
    subprocess.Popen(
        [sys.executable, "-P", str(BOOTSTRAP), __name__, worker],
        stdin=reader,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # ^C is for worker and runs
        env={**os.environ, **safe_environment()},
    )
    os.close(reader)


def close_after(worker: str) -> None:
    """Once a worker has ended: mark runs as crashed that were killed with it, and schedule those
    again that it had taken and that did not start.
    """
    from prefect.client.orchestration import get_client

    from flows.monitoring.flow_runs import mark_crashed_flow_runs

    deadline = time.monotonic() + PATIENCE_S
    with get_client(sync_client=True) as client:
        while True:
            mark_crashed_flow_runs()
            taken = _taken(client, worker)
            for run in taken:
                _take_back(client, run)
            if not taken or time.monotonic() > deadline:
                return
            time.sleep(POLL_S)


def _taken(client: SyncPrefectClient, worker: str) -> list[FlowRun]:
    """Runs that the worker has taken and that have not ended."""
    from flows.monitoring.flow_runs import UNFINISHED, unfinished

    return [run for run in unfinished(client, UNFINISHED) if run.labels.get(LABEL) == worker]


def _take_back(client: SyncPrefectClient, run: FlowRun) -> None:
    from prefect.client.schemas.objects import State
    from prefect.states import Scheduled

    if run.state_type is not None and run.state_type.value == "PENDING":
        again: State[None] = Scheduled(
            scheduled_time=run.expected_start_time, message="its worker ended before it started"
        )
        client.set_flow_run_state(run.id, again, force=True)


def main() -> None:
    """Wait for the end of the worker that is named on the command line, and close after it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # who stops a service signals all of its processes
    while os.read(0, 4096):
        pass
    close_after(sys.argv[1])


if __name__ == "__main__":
    main()
