"""What `puna deploy` puts on the server: the pipeline, one deployment a stage, and maintenance.

`described` makes them of a recipe. `apply` sends them, and `as_yaml` writes them for
`prefect deploy`. Sending them again replaces what was there, schedules too: a deployment without a
schedule loses the one it had, and runs that it had already scheduled.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, FlowFilter
from prefect.client.schemas.objects import ConcurrencyOptions, WorkPool
from prefect.client.schemas.schedules import CronSchedule
from prefect.utilities.callables import parameter_schema

from flows.deploying.duty import Duty, Overlap
from flows.deploying.maintenance import maintenance
from flows.deploying.pools import PROCESS
from flows.deploying.rerun import rerun
from flows.monitoring.server import ENVIRONMENT
from flows.pipeline import pipeline
from flows.planning.request import RunRequest
from flows.planning.wiring import stages
from flows.recipe.file import RecipeError
from flows.recipe.sections import Recipe
from flows.running.catch_up import TAG

OUR_FLOWS = (pipeline.name, rerun.name, maintenance.name)
"""Names of the flows that deployments run."""

_STRATEGY = {"queue": "ENQUEUE", "skip": "CANCEL_NEW"}


@dataclass(frozen=True)
class Deployment:
    """A deployment as the server takes it, whatever the work pool."""

    flow: Flow[..., Any]
    name: str
    parameters: Mapping[str, Any]
    description: str
    tags: tuple[str, ...]
    crons: tuple[str, ...] = ()
    timezone: str = "UTC"
    overlap: Overlap | None = None
    """What happens to a run while another of this deployment runs; None: both run."""
    entrypoint: str = field(init=False)

    def __post_init__(self) -> None:
        function = self.flow.fn
        object.__setattr__(self, "entrypoint", f"{function.__module__}.{function.__name__}")

    @property
    def full_name(self) -> str:
        """`flow/deployment`, as `prefect deployment run` takes it."""
        return f"{self.flow.name}/{self.name}"


def described(recipe: Recipe, request: RunRequest, duty: Duty) -> list[Deployment]:
    """The deployments of a recipe, the pipeline first. Raises `RecipeError` for a bad schedule."""
    name = recipe.name
    schedules((*duty.crons, *duty.maintenance), duty.timezone)
    given: dict[str, Any] = {"recipe": str(request.recipe), "overrides": list(request.overrides)}
    if request.store:
        given["store"] = request.store
    used = {node.stage.name: node.stage for node in stages(recipe).nodes.values()}
    return [
        Deployment(
            pipeline,
            name,
            given,
            f"Run {name}: build every stage that the store does not hold yet.",
            (name, f"{TAG}{duty.catch_up}"),
            duty.crons,
            duty.timezone,
            duty.overlap,
        ),
        *(
            Deployment(
                rerun,
                f"{name}-{stage.name}",
                {**given, "stage": stage.name},
                f"Run one stage of {name}: {stage.summary}.",
                (name,),
            )
            for stage in used.values()
        ),
        Deployment(
            maintenance,
            name,
            {"store": request.store or recipe.store},
            f"Look after the store of {name}: verify files, list garbage, show disk use.",
            (name,),
            duty.maintenance,
            duty.timezone,
            "skip",
        ),
    ]


def schedules(crons: Iterable[str], timezone: str) -> list[DeploymentScheduleCreate]:
    """Cron lines as Prefect's schedules. Raises `RecipeError` for one that it does not take."""
    made = []
    for cron in crons:
        try:
            made.append(
                DeploymentScheduleCreate(schedule=CronSchedule(cron=cron, timezone=timezone))
            )
        except ValueError as error:
            wrong = "--timezone" if "timezone" in str(error).lower() else "--cron"
            value = timezone if wrong == "--timezone" else cron
            raise RecipeError(
                [
                    f"{wrong} {value!r}: not understood; write five fields (minute, hour, day of "
                    'month, month, day of week), such as "0 3 * * 1", and a zone such as '
                    "Europe/Madrid"
                ]
            ) from None
    return made


def apply(
    client: SyncPrefectClient, deployments: Iterable[Deployment], pool: WorkPool, folder: Path
) -> None:
    """Create or replace deployments, and delete those of stages that the recipe has no longer.

    `folder`: where a process worker runs them, so that relative paths mean what they mean here.
    """
    wanted = list(deployments)
    for one in wanted:
        client.create_deployment(
            client.create_flow_from_name(one.flow.name),
            one.name,
            schedules=schedules(one.crons, one.timezone),
            concurrency_limit=1 if one.overlap else None,
            concurrency_options=_options(one.overlap),
            parameters=dict(one.parameters),
            description=one.description,
            tags=list(one.tags),
            work_pool_name=pool.name,
            job_variables=job_variables(pool.type, str(folder), sys.executable),
            entrypoint=one.entrypoint,
            pull_steps=[],
            parameter_openapi_schema=parameter_schema(one.flow).model_dump(),
            enforce_parameter_schema=True,
            paused=False,
        )
    names = {one.full_name for one in wanted}
    found = client.read_deployments(
        flow_filter=FlowFilter.model_validate({"name": {"any_": [rerun.name]}}),
        deployment_filter=DeploymentFilter.model_validate({"tags": {"all_": [wanted[0].name]}}),
    )
    for old in found:
        if f"{rerun.name}/{old.name}" not in names:
            client.delete_deployment(old.id)


def _options(overlap: Overlap | None) -> ConcurrencyOptions | None:
    if overlap is None:
        return None
    return ConcurrencyOptions.model_validate({"collision_strategy": _STRATEGY[overlap]})


def job_variables(kind: str, folder: str, python: str = "python") -> dict[str, Any]:
    """Settings of a run's process or container, by the kind of work pool.

    A process is started by a command of its own: Prefect's would copy the working directory, and
    import a folder named `tasks` there instead of ours.
    """
    variables: dict[str, Any] = {"env": {**ENVIRONMENT}}
    if kind == PROCESS:
        variables |= {"working_dir": folder, "command": f"{python} -P -m prefect.engine"}
    return variables


def as_yaml(deployments: Iterable[Deployment], pool: str) -> str:
    """The deployments as a file for `prefect deploy --all`, for a process pool whose workers run
    them in the folder where that command is given.
    """
    place = {"name": pool, "job_variables": job_variables(PROCESS, "{{ $PWD }}")}
    entries = []
    for one in deployments:
        entry: dict[str, Any] = {
            "name": one.name,
            "entrypoint": one.entrypoint,
            "description": one.description,
            "tags": list(one.tags),
            "parameters": json.loads(json.dumps(one.parameters)),
            "schedules": [{"cron": cron, "timezone": one.timezone} for cron in one.crons],
            "work_pool": place,
        }
        if one.overlap:
            entry["concurrency_limit"] = {
                "limit": 1,
                "collision_strategy": _STRATEGY[one.overlap],
            }
        entries.append(entry)
    return yaml.safe_dump({"pull": [], "deployments": entries}, sort_keys=False, width=100)
