"""The command that runs a recipe."""

from __future__ import annotations

import contextlib
import gc
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from flows.cli.common import (
    EXIT_FAILED,
    EXIT_GATE,
    EXIT_USAGE,
    ForceOption,
    FromOption,
    JsonOption,
    OnlyOption,
    PinOption,
    RecipeArgument,
    SetOption,
    StoreOption,
    UntilOption,
    put,
    read_request,
    refusals,
    say,
)
from flows.cli.interrupts import importing, interruptible

if TYPE_CHECKING:
    from flows.monitoring.server import Starting
    from flows.planning.prepare import Prepared
    from flows.planning.request import RunRequest
    from flows.running.walk import StepFailed


def run(
    recipe: RecipeArgument,
    only: OnlyOption = None,
    from_stage: FromOption = None,
    until_stage: UntilOption = None,
    force: ForceOption = None,
    pin: PinOption = None,
    set_: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a recipe: build every stage that the store does not hold yet, and print the benchmark
    table.
    """
    with interruptible():
        with importing():
            request = read_request(recipe, set_, store, only, from_stage, until_stage, force, pin)
        run_request(request, as_json)


def run_request(request: RunRequest, as_json: bool) -> None:
    with importing():
        from flows.planning.prepare import prepare
        from flows.running.results import Results
        from infra.engine import warm_up

    with refusals():
        prepared = prepare(request)
        prepared.refuse_unresolved()
        for warning in prepared.warnings():
            say(f"warning: {warning}")
        to_run = prepared.plan.to_run()
        if to_run:
            prepared.store.make()
    if prepared.nothing_new and prepared.turn is not None:
        for line in prepared.turn.lines():
            say(line)
        if as_json:
            put(json.dumps(Results(prepared.plan).to_json(None, "nothing new")))
        return
    if not to_run and not prepared.may_be_promoted:
        from flows.running.record import mark_crashed

        with refusals():
            crashed = mark_crashed(prepared.store)
        if crashed:
            starting = _begin_server()
            with importing():
                from flows.monitoring.flow_runs import mark_crashed_flow_runs

            _wait_for(starting)
            with _unreachable_server():
                mark_crashed_flow_runs()
        _print_result(Results(prepared.plan).to_json(None, "nothing to do"), as_json)
        return
    starting = _begin_server()
    warm_up(
        prepared.recipe.engine, [module for step in to_run for module in step.node.stage.compiles]
    )
    _run_pipeline(prepared, as_json, starting)


def _begin_server() -> Starting | None:
    """Set the server's address before Prefect is imported. Ours may still be starting."""
    from flows.monitoring import server

    server.prepare_environment()
    if os.environ.get("PREFECT_API_URL"):
        from infra.remote.locations import shown

        say(f"dashboard: {shown(os.environ['PREFECT_API_URL']).removesuffix('/api')}")
        return None
    with _failing_server():
        starting = server.begin()
    if not starting.answers:
        say("starting the dashboard (a local Prefect server, kept for later runs) ...")
    os.environ["PREFECT_API_URL"] = starting.server.api_url
    return starting


def _wait_for(starting: Starting | None) -> None:
    if starting is not None:
        with _failing_server():
            found = starting.wait()
        say(f"dashboard: {found.address}   (stop it with: puna dashboard stop)")


@contextlib.contextmanager
def _failing_server() -> Iterator[None]:
    """End with a sentence if our server does not start."""
    from flows.monitoring.server import ServerFailed

    try:
        yield
    except ServerFailed as error:
        say(f"error: {error}")
        raise typer.Exit(EXIT_FAILED) from None


def _run_pipeline(prepared: Prepared, as_json: bool, starting: Starting | None) -> None:
    gc.disable()  # imports leave no garbage worth searching for
    with importing():
        from flows.monitoring.console import PlainConsole, Terminal
        from flows.monitoring.listener import CONSOLE
        from flows.pipeline import run_prepared
        from flows.recipe.file import RecipeError
        from flows.running.walk import StepFailed
        from infra.stage import GateError, StageError

    gc.freeze()
    gc.enable()
    _wait_for(starting)
    console = PlainConsole(stderr=True)
    try:
        with _unreachable_server(), Terminal(console) as terminal:
            CONSOLE.set(terminal)
            result = run_prepared(prepared)
    except RecipeError as error:
        say(f"error: {error}")
        raise typer.Exit(EXIT_USAGE) from None
    except StageError as error:
        say(f"error: {error}")
        raise typer.Exit(EXIT_FAILED) from None
    except StepFailed as failure:
        _report_failure(failure, failure.store)
        if as_json:
            put(json.dumps(failure.result, ensure_ascii=False))
        raise typer.Exit(
            EXIT_GATE if isinstance(failure.cause, GateError) else EXIT_FAILED
        ) from None
    except typer.Exit:
        raise
    except Exception as error:
        _report_error(error)
        raise typer.Exit(EXIT_FAILED) from None
    _print_result(result, as_json)
    if result["status"] == "not promoted":
        raise typer.Exit(EXIT_GATE)


def promotion_lines(promotion: dict[str, Any] | None) -> list[str]:
    """What became of `latest`, as `puna run` says it."""
    if promotion is None:
        return []
    if promotion["promoted"]:
        return [f"Promoted: the latest tags follow run {promotion['to']}."]
    stays = f"the latest tags stay with run {promotion['to']}" if promotion["to"] else "no run is"
    return [f"Not promoted; {stays}:", *(f"  {reason}" for reason in promotion["reasons"])]


def _report_failure(failure: StepFailed, store: str) -> None:
    """Print a stage's error and what to do; the traceback too if the error was unforeseen."""
    from flows.running.failures import Failure, advise, in_words, traceback_of

    result = failure.result or {}
    record = str(Path(store, "runs", f"{result['run']}.json")) if result.get("run") else ""
    advice = advise(Failure(failure.cause, failure.step.id, store, record))
    if advice.traceback:
        say(traceback_of(failure.cause))
    words = in_words(failure.cause)
    named = words.startswith(f"{failure.step.id} ")  # a damaged input's sentence names the stage
    say(f"error: {words}" if named else f"error: {failure.step.id} failed: {words}")
    if advice.action:
        say(advice.action)
    for note in result.get("notes", ()):
        say(note)


def _report_error(error: Exception) -> None:
    """Print an error from outside of stages."""
    from flows.running.failures import Failure, advise, in_words, traceback_of

    advice = advise(Failure(error))
    if advice.traceback:
        say(traceback_of(error))
    say(f"error: {in_words(error)}")
    say(advice.action)


def _print_result(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        put(json.dumps(result, ensure_ascii=False))
        return
    from flows.monitoring.console import result_console, stage_table
    from flows.monitoring.score_table import score_table
    from flows.running.places import in_lines

    console = result_console()
    console.print(stage_table(result["stages"]))
    scores = score_table(result["scores"], result["changes"], console.width)
    if scores is not None:
        console.print()
        console.print(scores)
    for note in result["notes"]:
        console.print(note, highlight=False, soft_wrap=True)
    hits = sum(stage["result"] == "hit" for stage in result["stages"])
    if hits == len(result["stages"]):
        damaged = [stage for stage in result["stages"] if stage["why"].startswith("damaged: ")]
        note = f"; the files of {len(damaged)} are damaged (see above)" if damaged else ""
        console.print(f"\nNothing to do: all {hits} stages are in the store{note}.")
    lines = in_lines(result["places"], result["report"])
    if lines:
        console.print()
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
    for line in promotion_lines(result.get("promotion")):
        console.print(line, soft_wrap=True, highlight=False)


@contextlib.contextmanager
def _unreachable_server() -> Iterator[None]:
    """End with a sentence if the server that Prefect should use does not answer."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("Failed to reach API"):
            raise
        from infra.remote.locations import shown

        say(f"error: no Prefect server answers at {shown(os.environ.get('PREFECT_API_URL', ''))}")
        say("start it, or unset PREFECT_API_URL: puna then starts a server of its own")
        raise typer.Exit(EXIT_FAILED) from None
