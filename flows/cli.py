"""The `puna` command. Results go to stdout, what happens meanwhile to stderr.

Exit codes: 0 done or nothing to do, 1 a stage failed, 2 bad recipe or arguments, 3 a gate stopped the run,
75 interrupted and resumable. Heavy imports stand inside the commands, so that `puna --help` is quick.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

EXIT_FAILED, EXIT_USAGE, EXIT_GATE, EXIT_INTERRUPTED = 1, 2, 3, 75

app = typer.Typer(
    help="Puna: from web crawls and a base Llama to an adapted model with measured benchmarks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
artifacts_app = typer.Typer(help="Look at the store: versions, lineage, checks, clean-up.", no_args_is_help=True)
dashboard_app = typer.Typer(help="The local Prefect server that shows runs.", no_args_is_help=True)
app.add_typer(artifacts_app, name="artifacts")
app.add_typer(dashboard_app, name="dashboard")

RecipeArgument = Annotated[Path, typer.Argument(help="A recipe, such as configs/demo.yaml.", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option("-s", "--set", metavar="KEY=VALUE", help="Override a value of the recipe; repeatable."),
]
StoreOption = Annotated[str | None, typer.Option("--store", help="URL of the store, instead of the recipe's.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="S", help="Run only stage S (`stage` or `stage/name`); repeatable."),
]
FromOption = Annotated[str | None, typer.Option("--from", metavar="S", help="Run S and what follows it.")]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="S", help="Run S and what it rests on.")]
ForceOption = Annotated[list[str] | None, typer.Option("--force", metavar="S", help="Build S again; repeatable.")]
PinOption = Annotated[
    list[str] | None, typer.Option("--pin", metavar="S=VERSION", help="Use that version of S; repeatable.")
]
RefArgument = Annotated[str, typer.Argument(metavar="REF", help="stage/name[@version-or-tag].", show_default=False)]
StoreUrl = Annotated[str, typer.Option("--store", help="URL of the store.", envvar="PUNA_STORE")]


@app.command()
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
    """Run a recipe: build every stage that the store does not hold yet, and print the benchmark table."""
    from flows.prepare import prepare
    from flows.results import Results

    with _refusals():
        pins = _pins(pin)
        prepared = prepare(recipe, set_ or (), store, _selection(only, from_stage, until_stage, force, pins))
        prepared.refuse_unresolved()
        to_run = prepared.plan.to_run()
        if to_run:
            prepared.store.make()
    if not to_run:
        from flows.runs import mark_crashed

        with _refusals():
            crashed = mark_crashed(prepared.store)
        if crashed:
            _ensure_server()
            from flows.pipeline import mark_flow_runs_crashed

            with _unreachable_server():
                mark_flow_runs_crashed()
        _print_result(Results(prepared.plan).to_json(None, "nothing to do"), as_json)
        return
    _ensure_server()
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
    _run_pipeline(arguments, as_json)


def _ensure_server() -> None:
    from flows import server

    server.prepare_environment()
    if os.environ.get("PREFECT_API_URL"):
        _say(f"dashboard: {os.environ['PREFECT_API_URL'].removesuffix('/api')}")
        return
    found = server.running()
    if found is None:
        _say("starting the dashboard (a local Prefect server, kept for later runs) ...")
        try:
            found = server.start()
        except server.ServerFailed as error:
            _say(f"error: {error}")
            raise typer.Exit(EXIT_FAILED) from None
    os.environ["PREFECT_API_URL"] = found.api_url
    _say(f"dashboard: {found.address}   (stop it with: puna dashboard stop)")


def _run_pipeline(arguments: dict[str, Any], as_json: bool) -> None:
    from prefect import tags
    from rich.console import Console

    from flows.console import Terminal
    from flows.listener import CONSOLE
    from flows.pipeline import pipeline, process_tag
    from flows.recipe_file import RecipeError
    from flows.walk import StepFailed
    from infra.stage import GateError, StageError

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    console = Console(stderr=True)
    try:
        with _unreachable_server(), Terminal(console) as terminal, tags(process_tag()):
            CONSOLE.set(terminal)
            result = pipeline(**arguments)
    except KeyboardInterrupt:
        _say("interrupted; what is finished is kept, run the same command again to go on")
        sys.stderr.flush()
        os._exit(EXIT_INTERRUPTED)  # worker threads may be inside a stage; the store needs no goodbye
    except RecipeError as error:
        _say(f"error: {error}")
        raise typer.Exit(EXIT_USAGE) from None
    except StageError as error:
        _say(f"error: {error}")
        raise typer.Exit(EXIT_FAILED) from None
    except StepFailed as failure:
        _report_failure(failure)
        if as_json:
            print(json.dumps(failure.result, ensure_ascii=False))
        raise typer.Exit(EXIT_GATE if isinstance(failure.cause, GateError) else EXIT_FAILED) from None
    _print_result(result, as_json)


def _report_failure(failure: Any) -> None:
    """A stage's own error in plain words; anything unforeseen with its traceback, the worker's included."""
    import traceback

    from infra.stage import StageError

    if not isinstance(failure.cause, StageError):
        remote = failure.cause.__cause__  # a worker's traceback, as text
        if type(remote).__name__ == "RemoteTraceback":
            _say(str(remote))
        else:
            traceback.print_exception(failure.cause, file=sys.stderr)
    _say(f"error: {failure.step.id} failed: {failure.cause}")
    _say("what is finished is kept; run the same command again to go on from there")


def _print_result(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    from flows.console import result_console, score_table, stage_table

    console = result_console()
    console.print(stage_table(result["stages"]))
    scores = score_table(result["scores"])
    if scores is not None:
        console.print()
        console.print(scores)
    hits = sum(stage["result"] == "hit" for stage in result["stages"])
    if hits == len(result["stages"]):
        console.print(f"\nNothing to do: all {hits} stages are in the store.")
    if result["report"]:
        console.print(f"\nReport: {result['report']}", soft_wrap=True)


@app.command()
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
    from flows.prepare import prepare

    with _refusals():
        selection = _selection(only, from_stage, until_stage, force, _pins(pin))
        prepared = prepare(recipe, set_ or (), store, selection)
    stages = prepared.plan.to_json()
    if as_json:
        print(json.dumps({"recipe": prepared.recipe.name, "stages": stages}, ensure_ascii=False))
        return
    from flows.console import result_console, stage_table

    console = result_console()
    console.print(stage_table(stages))
    for warning in prepared.recipe.warnings():
        console.print(f"warning: {warning}", soft_wrap=True, highlight=False)


@app.command()
def evaluate(
    recipe: RecipeArgument,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Only that model (base, model or a phase); repeatable.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Evaluate again although the scores are there.")] = False,
    set_: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a recipe's models that are in the store, and print the benchmark table."""
    stages = [f"evaluation/{name}" for name in model] if model else ["evaluation"]
    run(recipe, only=stages, force=stages if force else None, set_=set_, store=store, as_json=as_json)


@app.command()
def report(
    recipe: RecipeArgument,
    force: Annotated[bool, typer.Option("--force", help="Draw the page again.")] = False,
    set_: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Print the path of a recipe's report, drawing it from what is in the store where it is not there."""
    from flows.prepare import prepare
    from flows.results import Results

    with _refusals():
        selection = _selection(["report"], None, None, ["report"] if force else None, {})
        prepared = prepare(recipe, set_ or (), store, selection)
        prepared.refuse_unresolved()
    if prepared.plan.to_run():
        run(recipe, only=["report"], force=["report"] if force else None, set_=set_, store=store)
        return
    print(Results(prepared.plan).to_json(None, "")["report"])


@app.command()
def doctor() -> None:
    """Check that everything recipes need is here, and say what to do where it is not."""
    from rich.console import Console

    from flows.doctor import examine
    from flows.server import prepare_environment

    prepare_environment()
    console, bad = Console(), 0
    for finding in examine():
        colour = {"ok": "green", "note": "yellow", "bad": "red"}[finding.verdict]
        action = f"  -> {finding.action}" if finding.action else ""
        console.print(f"[{colour}]{finding.verdict:>4}[/]  {finding.what}: {finding.found}{action}", highlight=False)
        bad += finding.verdict == "bad"
    if bad:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def init(file: Annotated[Path, typer.Argument(help="The recipe to write.")] = Path("recipe.yaml")) -> None:
    """Write a commented recipe to start from."""
    text = Path(__file__).with_name("starter.yaml").read_text(encoding="utf-8")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-._") or "recipe"
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text.replace("{file}", str(file)).replace("name: {name}", f"name: {name}"))
    except FileExistsError:
        _say(f"error: {file} is there already; name another file, or remove it")
        raise typer.Exit(EXIT_USAGE) from None
    except OSError as error:
        _say(f"error: {file} cannot be written: {error.strerror}")
        raise typer.Exit(EXIT_USAGE) from None
    print(f"{file} written; fill in your paths, then: puna plan {file}")


@artifacts_app.command("list")
def artifacts_list(store: StoreUrl = "artifacts", as_json: JsonOption = False) -> None:
    """List every artifact of the store."""
    with _refusals():
        rows = [
            {
                "artifact": artifact.identity,
                "finished": artifact.manifest["timings"]["finished"],
                "bytes": sum(output["bytes"] for output in artifact.manifest["outputs"]),
                "run": artifact.manifest["run"],
            }
            for artifact in _store(store).artifacts()
        ]
    if as_json:
        print(json.dumps({"artifacts": rows}))
        return
    for row in rows:
        print(f"{row['artifact']:<48} {row['finished'][:19]}  {row['bytes']:>14,} bytes  {row['run']}")


@artifacts_app.command("show")
def artifacts_show(reference: RefArgument, store: StoreUrl = "artifacts", as_json: JsonOption = False) -> None:
    """Show an artifact's manifest: parameters, inputs, outputs, statistics, ledger."""
    artifact = _open(store, reference)
    if as_json:
        print(json.dumps(artifact.manifest, ensure_ascii=False))
        return
    import yaml

    print(yaml.safe_dump(artifact.manifest, sort_keys=False, allow_unicode=True, width=120))


@artifacts_app.command("path")
def artifacts_path(reference: RefArgument, store: StoreUrl = "artifacts") -> None:
    """Print the folder of an artifact's data files."""
    print(_open(store, reference).data.url)


@artifacts_app.command("lineage")
def artifacts_lineage(
    reference: RefArgument,
    store: StoreUrl = "artifacts",
    down: Annotated[
        bool, typer.Option("--down", help="What was made from it, instead of what it was made from.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what an artifact was made from, down to the files that were read."""
    from infra.store import operations

    with _refusals():
        tree = operations.lineage(_store(store), _open(store, reference), down=down)
    print(json.dumps(tree, ensure_ascii=False) if as_json else "\n".join(operations.lineage_lines(tree)))


@artifacts_app.command("diff")
def artifacts_diff(first: RefArgument, second: RefArgument, store: StoreUrl = "artifacts") -> None:
    """Show where two artifacts differ: parameters, inputs, pins, statistics, files."""
    from infra.store import operations

    for line in operations.diff(_open(store, first), _open(store, second)):
        print(line)


@artifacts_app.command("verify")
def artifacts_verify(
    reference: Annotated[str | None, typer.Argument(metavar="[REF]", help="One artifact; all by default.")] = None,
    store: StoreUrl = "artifacts",
) -> None:
    """Read data files again and compare them with their manifest's checksums."""
    from infra.store import operations

    checked, problems = 0, []
    with _refusals():
        for artifact in [_open(store, reference)] if reference else _store(store).artifacts():
            checked += 1
            problems += operations.verify(artifact)
    for problem in problems:
        print(problem)
    print(f"{checked} artifacts checked, {len(problems)} problems")
    if problems:
        raise typer.Exit(EXIT_FAILED)


@artifacts_app.command("tag")
def artifacts_tag(
    reference: RefArgument,
    tag: Annotated[str, typer.Argument(help="The tag, such as released.", show_default=False)],
    recipe: Annotated[str, typer.Option("--recipe", help="The recipe the tag belongs to.")],
    store: StoreUrl = "artifacts",
) -> None:
    """Give an artifact a name that gc respects and `artifact:RECIPE/STAGE/NAME@TAG` finds."""
    artifact = _open(store, reference)
    with _refusals():
        _store(store).set_reference(recipe, artifact, tag)
    print(f"{recipe}: {tag} -> {artifact.identity}")


@artifacts_app.command("gc")
def artifacts_gc(
    store: StoreUrl = "artifacts",
    apply: Annotated[bool, typer.Option("--apply", help="Delete; without it, only say what would go.")] = False,
    keep_runs: Annotated[int, typer.Option("--keep-runs", min=0, help="Newest runs whose artifacts stay.")] = 3,
) -> None:
    """Remove artifacts that no tag, no recent run and no unfinished run needs (a dry run by default)."""
    from infra.store import operations

    with _refusals():
        found = operations.garbage(_store(store), keep_runs=keep_runs)
    for item in found:
        print(f"{'removed' if apply else 'would remove'}  {item.what}  {item.bytes:,} bytes")
        if apply:
            item.home.remove()
    print(f"{len(found)} items, {sum(item.bytes for item in found):,} bytes")


@dashboard_app.command("start")
def dashboard_start(
    port: Annotated[int | None, typer.Option("--port", help="Port; the first free one from 4200 by default.")] = None,
) -> None:
    """Start the dashboard, or say where it runs."""
    from flows import server

    server.prepare_environment()
    try:
        print(server.start(port).address)
    except server.ServerFailed as error:
        _say(f"error: {error}")
        raise typer.Exit(EXIT_FAILED) from None


@dashboard_app.command("stop")
def dashboard_stop() -> None:
    """Stop the dashboard; the history of runs is kept."""
    from flows import server

    print("stopped" if server.stop() else "no dashboard was running")


@dashboard_app.command("status")
def dashboard_status() -> None:
    """Say whether the dashboard runs, and where."""
    from flows import server

    found = server.running()
    print(
        f"running at {found.address} (process {found.pid})" if found else "not running; start it: puna dashboard start"
    )


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    from flows.recipe import recipe_schema

    print(json.dumps(recipe_schema(), indent=1))


def main() -> None:
    """Entry point of the `puna` command."""
    app()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _unreachable_server() -> Iterator[None]:
    """Prefect's own error for a server that does not answer, as a sentence."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("Failed to reach API"):
            raise
        _say(f"error: no Prefect server answers at {os.environ.get('PREFECT_API_URL')}")
        _say("start it, or unset PREFECT_API_URL: puna then starts a server of its own")
        raise typer.Exit(EXIT_FAILED) from None


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    from flows.recipe_file import RecipeError
    from infra.stage import StageError
    from infra.store import Damaged

    try:
        yield
    except Damaged as error:
        _say(f"error: {error}")
        raise typer.Exit(EXIT_FAILED) from None
    except (RecipeError, StageError) as error:
        _say(f"error: {error}")
        raise typer.Exit(EXIT_USAGE) from None


def _open(store: str, reference: str) -> Any:
    with _refusals():
        return _store(store).open(reference)


def _store(url: str) -> Any:
    """The store at a URL; one that is not there is most likely misspelt."""
    from infra.store import ArtifactMissing, Store

    with _refusals():
        store = Store.at(url)
        local = store.root.local_root
        if local is not None and not local.is_dir():
            raise ArtifactMissing(f"there is no store at {local}; name yours with --store, or set PUNA_STORE")
        return store


def _pins(given: list[str] | None) -> dict[str, str]:
    from flows.recipe_file import RecipeError

    pins = {}
    for text in given or ():
        stage, equals, version = text.partition("=")
        if not (stage and equals and version):
            raise RecipeError([f"--pin {text}: write S=VERSION, such as --pin tokenizer/main=3fa91c"])
        pins[stage] = version
    return pins


def _selection(
    only: list[str] | None, start: str | None, until: str | None, force: list[str] | None, pins: dict[str, str]
) -> Any:
    from flows.plan import Selection

    return Selection(tuple(only or ()), start, until, tuple(force or ()), pins)


if __name__ == "__main__":
    main()
