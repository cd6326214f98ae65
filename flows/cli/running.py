"""Commands that work on a recipe: run, plan, evaluate, report."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from flows.cli.common import (
    EXIT_FAILED,
    EXIT_GATE,
    EXIT_INTERRUPTED,
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
    read_pins,
    refusals,
    say,
    select,
)
from infra import interrupts

if TYPE_CHECKING:
    from flows.monitoring.server import Starting


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
    with _interruptible():
        _run(recipe, only, from_stage, until_stage, force, pin, set_, store, as_json)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """End with `EXIT_INTERRUPTED` on ^C or SIGTERM."""
    came = False

    def interrupt(signum: int, frame: object) -> None:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    with _on_interrupt(interrupt):
        try:
            yield
        except typer.Exit:
            raise
        except (
            BaseException
        ) as error:  # pydantic's too, which makes errors of its own of an interrupt
            if not came and not isinstance(error, KeyboardInterrupt):
                raise
            _end_interrupted()


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """End at once on ^C or SIGTERM: libraries that are being imported take an interrupt for an
    error, or drop it.
    """
    with _on_interrupt(lambda signum, frame: _end_interrupted()):
        yield


@contextlib.contextmanager
def _on_interrupt(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    signals = [signal.SIGTERM]
    if (
        signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    ):  # as it is for a job in a script's background
        signals.append(signal.SIGINT)
    before = [(number, signal.signal(number, handler)) for number in signals]
    try:
        yield
    finally:
        for number, earlier in before:
            signal.signal(number, earlier)


def _save_on_interrupt() -> None:
    """Let training write a checkpoint, and say where the next run goes on from; a second ^C does
    not wait for it.
    """
    if not interrupts.pending():
        return
    os.write(2, b"interrupted; training writes a checkpoint (^C again does not wait for it)\n")
    with contextlib.suppress(KeyboardInterrupt):
        for line in interrupts.save_all():
            os.write(2, f"{line}\n".encode())


def _end_interrupted() -> NoReturn:
    _save_on_interrupt()
    os.write(2, b"interrupted; what is finished is kept, run the same command again to go on\n")
    os._exit(EXIT_INTERRUPTED)  # worker threads may be inside a stage; the store needs no goodbye


def _run(
    recipe: Path,
    only: list[str] | None,
    from_stage: str | None,
    until_stage: str | None,
    force: list[str] | None,
    pin: list[str] | None,
    set_: list[str] | None,
    store: str | None,
    as_json: bool,
) -> None:
    with _importing():
        from flows.planning.prepare import prepare
        from flows.running.results import Results
        from infra.engine import warm_up

    with refusals():
        pins = read_pins(pin)
        prepared = prepare(
            recipe, set_ or (), store, select(only, from_stage, until_stage, force, pins)
        )
        prepared.refuse_unresolved()
        for warning in prepared.recipe.warnings():
            say(f"warning: {warning}")
        to_run = prepared.plan.to_run()
        if to_run:
            prepared.store.make()
    if not to_run:
        from flows.running.record import mark_crashed

        with refusals():
            crashed = mark_crashed(prepared.store)
        if crashed:
            starting = _begin_server()
            with _importing():
                from flows.pipeline import mark_flow_runs_crashed

            _wait_for(starting)
            with _unreachable_server():
                mark_flow_runs_crashed()
        _print_result(Results(prepared.plan).to_json(None, "nothing to do"), as_json)
        return
    starting = _begin_server()
    warm_up(
        prepared.recipe.engine, [module for step in to_run for module in step.node.stage.compiles]
    )
    arguments = {
        "recipe": str(recipe),
        "overrides": list(set_ or ()),
        "only": list(only or ()),
        "from_stage": from_stage,
        "until_stage": until_stage,
        "force": list(force or ()),
        "pin": pins,
        "store": store,
    }
    _run_pipeline(arguments, as_json, starting)


def _begin_server() -> Starting | None:
    """Have Prefect's settings name a server before Prefect is imported; one of ours may still be
    starting.
    """
    from flows.monitoring import server

    server.prepare_environment()
    if os.environ.get("PREFECT_API_URL"):
        say(f"dashboard: {os.environ['PREFECT_API_URL'].removesuffix('/api')}")
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
    """A server that does not start, as a sentence."""
    from flows.monitoring.server import ServerFailed

    try:
        yield
    except ServerFailed as error:
        say(f"error: {error}")
        raise typer.Exit(EXIT_FAILED) from None


def _run_pipeline(arguments: dict[str, Any], as_json: bool, starting: Starting | None) -> None:
    gc.disable()  # what is imported stays, and is worth no search for garbage
    with _importing():
        from prefect import tags
        from rich.console import Console

        from flows.monitoring.console import Terminal
        from flows.monitoring.listener import CONSOLE
        from flows.pipeline import pipeline, process_tag
        from flows.recipe.file import RecipeError
        from flows.running.walk import StepFailed
        from infra.stage import GateError, StageError

    gc.freeze()
    gc.enable()
    _wait_for(starting)
    console = Console(stderr=True)
    try:
        with _unreachable_server(), Terminal(console) as terminal, tags(process_tag()):
            CONSOLE.set(terminal)
            result = pipeline(**arguments)
    except RecipeError as error:
        say(f"error: {error}")
        raise typer.Exit(EXIT_USAGE) from None
    except StageError as error:
        say(f"error: {error}")
        raise typer.Exit(EXIT_FAILED) from None
    except StepFailed as failure:
        _report_failure(failure, failure.store)
        if as_json:
            print(json.dumps(failure.result, ensure_ascii=False))
        raise typer.Exit(
            EXIT_GATE if isinstance(failure.cause, GateError) else EXIT_FAILED
        ) from None
    except typer.Exit:
        raise
    except Exception as error:
        _report_error(error)
        raise typer.Exit(EXIT_FAILED) from None
    _print_result(result, as_json)


def _report_failure(failure: Any, store: str) -> None:
    """A stage's own error in plain words, and what to do; anything unforeseen with its
    traceback.
    """
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
    """An error outside of stages."""
    from flows.running.failures import Failure, advise, in_words, traceback_of

    advice = advise(Failure(error))
    if advice.traceback:
        say(traceback_of(error))
    say(f"error: {in_words(error)}")
    say(advice.action)


def _print_result(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    from flows.monitoring.console import result_console, score_table, stage_table

    console = result_console()
    console.print(stage_table(result["stages"]))
    scores = score_table(result["scores"])
    if scores is not None:
        console.print()
        console.print(scores)
    for note in result["notes"]:
        console.print(note, highlight=False, soft_wrap=True)
    hits = sum(stage["result"] == "hit" for stage in result["stages"])
    if hits == len(result["stages"]):
        damaged = [stage for stage in result["stages"] if stage["why"].startswith("damaged: ")]
        but = f"; the files of {len(damaged)} are damaged (see above)" if damaged else ""
        console.print(f"\nNothing to do: all {hits} stages are in the store{but}.")
    if result["report"]:
        console.print(f"\nReport: {result['report']}", soft_wrap=True)


def plan(
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
    """Show each stage's version, whether the store holds it, and why it must run. Runs nothing."""
    from flows.planning.prepare import prepare

    with refusals():
        selection = select(only, from_stage, until_stage, force, read_pins(pin))
        prepared = prepare(recipe, set_ or (), store, selection)
    stages = prepared.plan.to_json()
    if as_json:
        print(json.dumps({"recipe": prepared.recipe.name, "stages": stages}, ensure_ascii=False))
        return
    from flows.monitoring.console import result_console, stage_table

    console = result_console()
    console.print(stage_table(stages))
    for warning in prepared.recipe.warnings():
        console.print(f"warning: {warning}", soft_wrap=True, highlight=False)


def evaluate(
    recipe: RecipeArgument,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="Only that model (base, model or a phase); repeatable."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Evaluate again although the scores are there.")
    ] = False,
    set_: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a recipe's models that are in the store, and print the benchmark table."""
    stages = [f"evaluation/{name}" for name in model] if model else ["evaluation"]
    run(
        recipe,
        only=stages,
        force=stages if force else None,
        set_=set_,
        store=store,
        as_json=as_json,
    )


def report(
    recipe: RecipeArgument,
    force: Annotated[bool, typer.Option("--force", help="Draw the page again.")] = False,
    set_: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Print the path of a recipe's report, drawing it from what is in the store where it is not
    there.
    """
    from flows.planning.prepare import prepare
    from flows.running.results import Results

    with refusals():
        selection = select(["report"], None, None, ["report"] if force else None, {})
        prepared = prepare(recipe, set_ or (), store, selection)
        prepared.refuse_unresolved()
    drawn = Results(prepared.plan).to_json(None, "")["report"]
    if prepared.plan.to_run() or drawn is None:
        run(
            recipe,
            only=["report"],
            force=["report"] if force or not prepared.plan.to_run() else None,
            set_=set_,
            store=store,
        )
        return
    print(drawn)


@contextlib.contextmanager
def _unreachable_server() -> Iterator[None]:
    """Prefect's own error for a server that does not answer, as a sentence."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("Failed to reach API"):
            raise
        say(f"error: no Prefect server answers at {os.environ.get('PREFECT_API_URL')}")
        say("start it, or unset PREFECT_API_URL: puna then starts a server of its own")
        raise typer.Exit(EXIT_FAILED) from None
