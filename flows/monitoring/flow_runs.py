"""How runs stand on the dashboard: their names and tags, and which of them lost their process.

A run is called by its recipe and the last word of its id (`demo-3fa9`), a run of chosen stages
`demo-3fa9: only cut`, and a stage of a run `demo-3fa9: training/first`. Tags are for readers: the
recipe, and for a stage its kind. The process that a run lives in is told by its labels, which the
dashboard does not show in lists.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.monitoring.pulse import Pulse
from infra.process import is_alive, process_identity

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

UNFINISHED = ("PENDING", "RUNNING", "CANCELLING")

TERMINAL = "terminal"
ABOUT_TERMINAL = (
    "Runs that `puna run` started. Cancel ends them as ^C does. No worker starts runs of this "
    "deployment: start them on a terminal, or from what `puna deploy RECIPE` deploys."
)


def start_pulse() -> Pulse:
    """The process that sends heartbeats of this run's flow runs."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL

    login: str | None = PREFECT_API_AUTH_STRING.value()
    key: str | None = PREFECT_API_KEY.value()
    headers = {}
    if login:
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    elif key:
        headers["Authorization"] = f"Bearer {key}"
    return Pulse(PREFECT_API_URL.value() or "", headers)


def short_name(run: str) -> str:
    """`demo-3fa9` of the run id `20261121-093012-demo-3fa9`."""
    return run.split("-", 2)[-1]


def begin_on_terminal(flow: Flow[..., Any], parameters: dict[str, Any], recipe: str) -> FlowRun:
    """A new flow run, which this process is about to run. It belongs to a deployment, since the
    dashboard has a Cancel button for no other. Runs that somebody started there (Copy to new run)
    are cancelled: they would be late for ever.
    """
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled, Pending

    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(
            client.create_flow(flow),
            TERMINAL,
            description=ABOUT_TERMINAL,
            enforce_parameter_schema=False,
        )
        for copied in _found(client, ("SCHEDULED",), deployment_id={"any_": [deployment]}):
            client.set_flow_run_state(copied.id, Cancelled(message=ABOUT_TERMINAL), force=True)
        return client.create_flow_run_from_deployment(
            deployment,
            parameters=parameters,
            state=Pending(),
            name=recipe,
            tags=[recipe],
            labels=_labels(),
        )


def name_run(flow_run: UUID, run: str, recipe: str, only: Sequence[str]) -> None:
    """Name a pipeline's flow run, and say which process runs it. `only`: the stages that it was
    asked to run, none for all.
    """
    from prefect.client.orchestration import get_client

    name = short_name(run) + (f": only {', '.join(only)}" if only else "")
    with get_client(sync_client=True) as client:
        tags = client.read_flow_run(flow_run).tags
        client.update_flow_run(flow_run, name=name, tags=list(dict.fromkeys([*tags, recipe])))
        client.update_flow_run_labels(flow_run, _labels())


def stages_of(client: SyncPrefectClient, flow_run: UUID, states: tuple[str, ...]) -> list[UUID]:
    """The flow runs of a run's stages that are in states of these types."""
    return [run.id for run in _found(client, states, parent_flow_run_id={"any_": [flow_run]})]


def mark_crashed_flow_runs() -> None:
    """Close what runs of this host, and their stages, left unfinished when they were killed."""
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed

    with get_client(sync_client=True) as client:
        for run in unfinished(client, UNFINISHED):
            if _was_killed(run.labels):
                for lost in (*stages_of(client, run.id, UNFINISHED), run.id):
                    client.set_flow_run_state(
                        lost, Crashed(message="the process was killed"), force=True
                    )


def unfinished(client: SyncPrefectClient, states: tuple[str, ...]) -> list[FlowRun]:
    """Runs, not their stages, in states of these types."""
    return _found(client, states, parent_task_run_id={"is_null_": True})


def _found(client: SyncPrefectClient, states: tuple[str, ...], **chosen: Any) -> list[FlowRun]:
    from prefect.client.schemas.filters import FlowRunFilter

    wanted = FlowRunFilter.model_validate({"state": {"type": {"any_": states}}, **chosen})
    return client.read_flow_runs(flow_run_filter=wanted, limit=200)


def _labels() -> dict[str, Any]:
    return {f"puna.{key}": str(value) for key, value in process_identity().items()}


def _was_killed(labels: dict[str, Any]) -> bool:
    owner = {key: labels.get(f"puna.{key}") for key in ("host", "pid", "started")}
    return None not in owner.values() and is_alive(owner) is False
