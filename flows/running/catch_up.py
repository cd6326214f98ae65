"""What happens to scheduled runs that waited for a worker: the first to start clears the backlog.

A schedule goes on while no worker lives, and a worker that comes back would start every run it
missed. A deployment's tag says which of them are left out:

- `catch-up:newest`: of overdue runs with the same parameters, all but the newest.
- `catch-up:skip`: every run that no worker took within `LATE_S` of its time.

They end as Cancelled, named "Skipped", and so does a run whose deployment has no schedule any more:
a scheduler may have made it at the moment that the schedule was taken away. A run that waits for
the run before it to end was taken by a worker in time; two schedules that fall on the same minute
make two runs, and neither is the newer.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

CatchUp = Literal["skip", "newest"]
TAG = "catch-up:"
LATE_S = 600.0
"""Seconds after its time within which a worker takes a run that is not overdue: starting a worker's
machine may take minutes."""

PUNCTUAL_S = 120.0
"""Seconds after its time within which a run that starts does its work though a newer one is due.
Else, on a schedule of minutes and a slow machine, every run would leave the work to the next."""

_PAGE = 200
_UNTAKEN = ("Scheduled", "Late")
"""Names of states in which no worker has taken a run yet."""


@dataclass(frozen=True)
class Due:
    """A scheduled run whose time has come and that has not ended."""

    id: UUID
    expected: datetime.datetime
    taken: datetime.datetime | None
    """When a worker took it; None if none has. Only `skip` asks."""
    parameters: dict[str, Any]


def left_out(runs: Iterable[Due], policy: CatchUp, now: datetime.datetime) -> dict[UUID, str]:
    """Which of a deployment's due runs the policy leaves out, and why."""
    due = list(runs)
    if policy == "skip":
        late = datetime.timedelta(seconds=LATE_S)
        return {
            run.id: f"no worker took it within {LATE_S / 60:.0f} minutes of "
            f"{run.expected:%Y-%m-%d %H:%M} UTC (catch-up: skip)"
            for run in due
            if (run.taken or now) - run.expected > late
        }
    punctual = now - datetime.timedelta(seconds=PUNCTUAL_S)
    newest: dict[str, datetime.datetime] = {}
    for run in due:
        key = repr(sorted(run.parameters.items()))
        newest[key] = max(run.expected, newest.get(key, run.expected))
    return {
        run.id: f"the run of {last:%Y-%m-%d %H:%M} UTC does its work (catch-up: newest)"
        for run in due
        if run.expected < punctual
        and run.expected < (last := newest[repr(sorted(run.parameters.items()))])
    }


def skipped_if_overdue() -> State[Any] | None:
    """Leave out what the deployment's catch-up says. Returns the state to end in if this run is
    among it, else None.

    Does nothing in runs that no schedule made: those of `puna run`, or started by hand.
    """
    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run
    from prefect.states import Cancelled

    if not any(tag.startswith(TAG) for tag in flow_run.get_tags()):
        return None
    now = datetime.datetime.now(datetime.UTC)
    with get_client(sync_client=True) as client:
        own = client.read_flow_run(UUID(flow_run.get_id()))
        if not own.auto_scheduled or own.deployment_id is None:
            return None
        if not any(one.active for one in client.read_deployment(own.deployment_id).schedules):
            return Cancelled(name="Skipped", message="its schedule was taken away or switched off")
        policy: CatchUp = "skip" if f"{TAG}skip" in own.tags else "newest"
        runs = (*_waiting(client, own.deployment_id, now), own)
        due = [
            Due(
                run.id,
                run.expected_start_time or now,
                _taken(client, run) if policy == "skip" else None,  # a request for every run
                run.parameters,
            )
            for run in runs
        ]
        out = left_out(due, policy, now)
        for id, why in out.items():
            if id != own.id:
                client.set_flow_run_state(id, Cancelled(name="Skipped", message=why), force=True)
    return Cancelled(name="Skipped", message=out[own.id]) if own.id in out else None


def _waiting(
    client: SyncPrefectClient, deployment: UUID, now: datetime.datetime
) -> Iterator[FlowRun]:
    """A deployment's scheduled runs that are due and have not started, oldest first."""
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    waiting = FlowRunFilter.model_validate(
        {
            "deployment_id": {"any_": [deployment]},
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "expected_start_time": {"before_": now},
        }
    )
    offset = 0
    while found := client.read_flow_runs(
        flow_run_filter=waiting,
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=_PAGE,
        offset=offset,
    ):
        yield from (run for run in found if run.auto_scheduled)
        offset += _PAGE


def _taken(client: SyncPrefectClient, run: FlowRun) -> datetime.datetime | None:
    """When a worker took the run, which may be waiting for another to end since."""
    if run.state_name in _UNTAKEN:
        return None
    states = client.read_flow_run_states(run.id)
    return min((s.timestamp for s in states if s.name not in _UNTAKEN), default=None)
