"""Commands that put a recipe on duty: deploy, serve."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.common import (
    EXIT_FAILED,
    RecipeArgument,
    SetOption,
    StoreOption,
    put,
    read_request,
    refusals,
    say,
)
from flows.deploying.duty import Duty, Overlap
from flows.running.catch_up import CatchUp

if TYPE_CHECKING:
    from prefect.client.schemas.objects import WorkPool

    from flows.planning.prepare import Prepared
    from flows.planning.request import RunRequest

CronOption = Annotated[
    list[str] | None,
    typer.Option("--cron", help='When to run, such as "0 3 * * 1" (Mondays at 3); repeatable.'),
]
TimezoneOption = Annotated[
    str, typer.Option("--timezone", help="Time zone of the schedules, such as Europe/Madrid.")
]
CatchUpOption = Annotated[
    CatchUp,
    typer.Option(
        "--catch-up",
        help="Of runs that waited for a worker, start only the newest, or skip all that none took "
        "within 10 minutes of their time.",
    ),
]
OverlapOption = Annotated[
    Overlap,
    typer.Option("--overlap", help="What a run does that is due while the one before it runs."),
]
MaintenanceOption = Annotated[
    list[str] | None,
    typer.Option("--maintenance", metavar="CRON", help="When to look after the store; repeatable."),
]
PoolOption = Annotated[
    str,
    typer.Option(
        "--work-pool",
        help="Where runs wait for a worker; made for workers that start processes if it does not "
        "exist.",
    ),
]


@dataclass(frozen=True)
class Wanted:
    """What both commands are given: a recipe and its options, when it runs, and where."""

    recipe: Path
    overrides: list[str] | None
    store: str | None
    duty: Duty
    pool: str


def _wanted(
    recipe: RecipeArgument,
    cron: CronOption = None,
    timezone: TimezoneOption = "UTC",
    work_pool: PoolOption = "puna",
    catch_up: CatchUpOption = "newest",
    overlap: OverlapOption = "queue",
    maintenance: MaintenanceOption = None,
    set_: SetOption = None,
    store: StoreOption = None,
) -> Wanted:
    duty = Duty(tuple(cron or ()), timezone, catch_up, overlap, tuple(maintenance or ()))
    return Wanted(recipe, set_, store, duty, work_pool)


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of `_wanted` before its own; it gets what they make."""
    shared = signature(_wanted, eval_str=True).parameters
    own = list(signature(command, eval_str=True).parameters.values())[1:]

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        wanted = _wanted(**{name: given.pop(name) for name in shared})
        command(wanted, **given)

    options = [*shared.values(), *own]
    with_options.__dict__["__signature__"] = Signature(options)
    with_options.__annotations__ = {option.name: option.annotation for option in options}
    return with_options


@_with_options
def deploy(
    wanted: Wanted,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print a file for `prefect deploy`; no server is needed.")
    ] = False,
) -> None:
    """Put a recipe on the server: the pipeline with its schedule, every stage with a short form,
    maintenance, and automations. Replaces what an earlier deploy of the recipe put there.
    """
    if as_yaml:
        _print_yaml(wanted)
        return
    pool = _apply(wanted)
    from flows.deploying.pools import worker_command
    from infra.remote.locations import shown

    address = shown(os.environ["PREFECT_API_URL"])
    say(f"runs need a worker: PREFECT_API_URL={address} {shlex.join(worker_command(pool))}")


@_with_options
def serve(wanted: Wanted) -> None:
    """Deploy a recipe and run it on this machine when it is due, until ^C: `puna deploy` and a
    worker in one command.
    """
    pool = _apply(wanted)
    from flows.deploying.pools import PROCESS, become_worker

    if pool.type != PROCESS:
        say(
            f"error: work pool {pool.name} is of type {pool.type}, whose workers do not run on one "
            "machine; name another with --work-pool, or use: puna deploy"
        )
        raise typer.Exit(EXIT_FAILED)
    say("waiting for runs that are due, or started on the dashboard (^C ends this)")
    become_worker(pool)


def _request(wanted: Wanted, recipe: Path) -> RunRequest:
    return read_request(recipe, wanted.overrides, wanted.store, None, None, None, None, None)


def _prepared(wanted: Wanted) -> Prepared:
    """The recipe's plan, whose mistakes end the command: they would fail every run."""
    from flows.planning.prepare import prepare

    request = _request(wanted, wanted.recipe.absolute())
    with refusals():
        prepared = prepare(request)
    for warning in prepared.warnings():
        say(f"warning: {warning}")
    return prepared


def _print_yaml(wanted: Wanted) -> None:
    from flows.deploying.deployments import as_yaml, described
    from flows.recipe.read import read_recipe

    request = _request(wanted, wanted.recipe)
    with refusals():
        recipe = read_recipe(request.recipe, request.overrides)
        print(as_yaml(described(recipe, request, wanted.duty), wanted.pool), end="")


def _apply(wanted: Wanted) -> WorkPool:
    """Put a recipe on the server, and say what is there now."""
    prepared = _prepared(wanted)
    from flows.monitoring import server

    server.prepare_environment()
    if not os.environ.get("PREFECT_API_URL"):
        try:
            os.environ["PREFECT_API_URL"] = server.start().api_url
        except server.ServerFailed as error:
            say(f"error: {error}")
            raise typer.Exit(EXIT_FAILED) from None
    from prefect.client.orchestration import get_client

    from flows.deploying import automations, deployments, pools
    from infra.remote.locations import shown

    with refusals():
        described = deployments.described(prepared.recipe, prepared.request, wanted.duty)
    automations.save_webhook()
    with get_client(sync_client=True) as client:
        found = pools.find_or_create(client, wanted.pool)
        deployments.apply(client, described, found, Path.cwd())
        told = automations.apply(client)
    for one in described:
        when = ", ".join(one.crons)
        put(f"{one.full_name}{f'  {when} ({one.timezone})' if when else ''}")
    say(
        f"failures are told to {', '.join(told)}"
        if told
        else f"nobody is told of failures: set {automations.WEBHOOK_VARIABLE}, or make a "
        f"notification block named {automations.BLOCK!r} on the dashboard, and deploy again"
    )
    say(f"dashboard: {shown(os.environ['PREFECT_API_URL']).removesuffix('/api')}/deployments")
    return found
