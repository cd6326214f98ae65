"""Work pools: a deployment's runs wait in one until a worker of its kind takes them."""

from __future__ import annotations

import os
import socket
import sys
from typing import NoReturn

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from flows.deploying.guard import guard

PROCESS = "process"

AT_ONCE = 4
"""Runs that a new pool starts at once. It also keeps workers from asking the server for every run
of a backlog again and again, which would slow down the one that clears it."""


def find_or_create(client: SyncPrefectClient, name: str) -> WorkPool:
    """The work pool of that name; a new one runs flows as processes of its workers' machines."""
    try:
        return client.read_work_pool(name)
    except ObjectNotFound:
        from prefect.workers.process import ProcessWorker

        pool = WorkPoolCreate(
            name=name,
            type=PROCESS,
            base_job_template=ProcessWorker.get_default_base_job_template(),
            concurrency_limit=AT_ONCE,
            description="Runs of puna, as processes on the machines of its workers.",
        )
        try:
            return client.create_work_pool(pool)
        except ObjectAlreadyExists:  # by another command, meanwhile
            return client.read_work_pool(name)


def worker_command(pool: WorkPool) -> list[str]:
    """The command of a worker for a pool, for this Python."""
    return [sys.executable, "-m", "prefect", "worker", "start", "-p", pool.name, "-t", pool.type]


def become_worker(pool: WorkPool) -> NoReturn:
    """Replace this process by a worker of the pool, with a guard that closes after it."""
    name = f"puna serve, process {os.getpid()} on {socket.gethostname()}"
    guard(name)
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    environment.pop("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", None)  # a worker's lines are its own
    os.execve(sys.executable, [*worker_command(pool), "--name", name], environment)
