"""`puna artifacts`: commands on the store."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import (
    EXIT_FAILED,
    EXIT_USAGE,
    JsonOption,
    RefArgument,
    StoreUrl,
    open_artifact,
    open_store,
    put,
    refusals,
    say,
    store_at,
)

if TYPE_CHECKING:
    from infra.store.operations import Garbage

app = typer.Typer(
    help="Look at the store: versions, lineage, checks, clean-up.", no_args_is_help=True
)


@app.command("list")
def list_(store: StoreUrl = "artifacts", as_json: JsonOption = False) -> None:
    """List every artifact of the store, then those that cannot be read."""
    damaged: list[str] = []
    with refusals():
        rows = [
            {
                "artifact": artifact.identity,
                "finished": artifact.manifest.finished,
                "bytes": sum(output.bytes for output in artifact.manifest.outputs),
                "run": artifact.manifest.run,
            }
            for artifact in open_store(store).artifacts(damaged)
        ]
    if as_json:
        put(json.dumps({"artifacts": rows}))
    for row in () if as_json else rows:
        when = str(row["finished"])[:19]
        put(f"{row['artifact']:<48} {when}  {row['bytes']:>14,} bytes  {row['run']}")
    for problem in damaged:
        say(f"error: {problem}")
    if damaged:
        raise typer.Exit(EXIT_FAILED)


@app.command("show")
def show(
    reference: RefArgument, store: StoreUrl = "artifacts", as_json: JsonOption = False
) -> None:
    """Show an artifact's manifest: parameters, inputs, outputs, statistics, ledger."""
    artifact = open_artifact(store, reference)
    if as_json:
        put(json.dumps(artifact.manifest.data, ensure_ascii=False))
        return
    import yaml

    put(yaml.safe_dump(artifact.manifest.data, sort_keys=False, allow_unicode=True, width=120))


@app.command("path")
def path(reference: RefArgument, store: StoreUrl = "artifacts") -> None:
    """Print the folder of an artifact's data files, after checking that all exist in full size."""
    from infra.store import damage

    artifact = open_artifact(store, reference)
    with refusals():
        damage.require_sizes(artifact)
    put(artifact.data.url)


@app.command("lineage")
def lineage(
    reference: RefArgument,
    store: StoreUrl = "artifacts",
    down: Annotated[
        bool,
        typer.Option("--down", help="Show what was made from it instead."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what an artifact was made from, down to the files that were read."""
    from infra.store import operations

    with refusals():
        tree = operations.lineage(open_store(store), open_artifact(store, reference), down=down)
    put(
        json.dumps(tree, ensure_ascii=False)
        if as_json
        else "\n".join(operations.lineage_lines(tree))
    )


@app.command("diff")
def diff(first: RefArgument, second: RefArgument, store: StoreUrl = "artifacts") -> None:
    """Show where two artifacts differ: parameters, inputs, pins, statistics, files."""
    from infra.store import operations

    one, other = open_artifact(store, first), open_artifact(store, second)
    for line in operations.diff(one, other):
        put(line)


@app.command("verify")
def verify(
    reference: Annotated[
        str | None, typer.Argument(metavar="[REF]", help="One artifact; all by default.")
    ] = None,
    store: StoreUrl = "artifacts",
) -> None:
    """Read data files and compare them with the checksums in their manifests; without REF, check
    the store's records too.
    """
    from infra.store import operations

    checked, problems, damaged = 0, [], list[str]()
    with refusals():
        opened = open_store(store)
        found = [open_artifact(store, reference)] if reference else opened.artifacts(damaged)
        for artifact in found:
            checked += 1
            problems += operations.verify(artifact)
        problems += damaged
        problems += [] if reference else opened.damaged_records()
    for problem in problems:
        put(problem)
    put(f"{checked + len(damaged)} artifacts checked, {len(problems)} problems")
    if problems:
        raise typer.Exit(EXIT_FAILED)


@app.command("copy")
def copy(
    reference: RefArgument,
    to: Annotated[
        str, typer.Option("--to", help="URL of the store to copy to.", show_default=False)
    ],
    from_: Annotated[
        str, typer.Option("--from", help="URL of the store to copy from.", envvar="PUNA_STORE")
    ] = "artifacts",
    inputs: Annotated[
        bool, typer.Option("--with-inputs", help="Copy what it was made from, too.")
    ] = False,
) -> None:
    """Copy an artifact to another store: its data, checked against its checksums, its records and
    its manifest. The same command goes on with a copy that was broken off.
    """
    from infra.store import copying

    artifact = open_artifact(from_, reference)
    with refusals():
        target = store_at(to)
        target.make()
        source = open_store(from_)
        chosen = copying.with_inputs(source, artifact) if inputs else [artifact]
        for one in chosen:
            done = "copied" if copying.copy(one, target) else "was there"
            size = sum(output.bytes for output in one.manifest.outputs)
            print(f"{one.identity:<48} {size:>14,} bytes  {done}  {target.root.url}", flush=True)


@app.command("tag")
def tag(
    reference: RefArgument,
    tag: Annotated[str, typer.Argument(help="The tag, such as released.", show_default=False)],
    recipe: Annotated[str, typer.Option("--recipe", help="The recipe the tag belongs to.")],
    store: StoreUrl = "artifacts",
) -> None:
    """Give an artifact a name that gc respects and `artifact:RECIPE/STAGE/NAME@TAG` finds; who
    did so, and when, is recorded.
    """
    from infra.store import promotions

    artifact = open_artifact(store, reference)
    with refusals():
        promotions.move_tag(open_store(store), recipe, artifact, tag)
    put(f"{recipe}: {tag} -> {artifact.identity}")


@app.command("gc")
def gc(
    store: StoreUrl = "artifacts",
    apply: Annotated[
        bool, typer.Option("--apply", help="Delete; without it, only list what would be deleted.")
    ] = False,
    keep_runs: Annotated[
        int,
        typer.Option(
            "--keep-runs", min=0, help="Newest runs that built something whose artifacts stay."
        ),
    ] = 3,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --apply: delete trained models without asking.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove artifacts that no tag, no recent run and no unfinished run needs, with their age, size
    and what building them took (a dry run by default; asks before it deletes a trained model).
    """
    from flows.planning.reading import in_bytes
    from infra.quantities import duration
    from infra.store import operations

    with refusals():
        found = operations.garbage(open_store(store), keep_runs=keep_runs)
        trained = [item for item in found if item.stage == TRAINING]
        if apply and trained and not yes:
            _ask_for(trained)
        if apply:
            for item in found:
                item.home.remove()
    if as_json:
        rows = [
            {"item": i.what, "bytes": i.bytes, "finished": i.finished, "seconds": i.seconds}
            for i in found
        ]
        put(json.dumps({"removed": apply, "items": rows}))
        return
    for item in found:
        put(f"{'removed' if apply else 'would remove'}  {_in_words(item)}")
    total, seconds = sum(item.bytes for item in found), sum(item.seconds for item in found)
    counted = sum(item.stage == TRAINING for item in found)
    put(
        f"{len(found):,} items, {in_bytes(total)}"
        + (f", built in {duration(seconds)}" if seconds else "")
        + (f"; {counted} of them of training" if counted else "")
    )


TRAINING = "training"
"""The stage whose artifacts cost most, so that they are asked for."""


def _ask_for(trained: Sequence[Garbage]) -> None:
    """Have a person agree that trained models are deleted; ends the command where none does."""
    for item in trained:
        say(f"trained model: {_in_words(item)}")
    if not sys.stdin.isatty():
        say("error: trained models are deleted with --yes only; or keep them: puna artifacts tag")
        raise typer.Exit(EXIT_USAGE)
    if not typer.confirm(f"delete {len(trained)} trained models?", err=True):
        say("nothing was deleted; puna artifacts tag keeps a model for good")
        raise typer.Exit(EXIT_USAGE)


def _in_words(item: Garbage) -> str:
    """An item with its size, its age and what building it took."""
    from flows.planning.reading import in_bytes
    from infra.quantities import duration

    cost = f"  built in {duration(item.seconds)}" if item.seconds else "  unfinished"
    return f"{item.what:<48}  {in_bytes(item.bytes):>8}  {_age(item.finished):>12}{cost}"


def _age(finished: str) -> str:
    """How long ago a time in ISO 8601 was; "" for none."""
    if not finished:
        return ""
    from infra.quantities import duration

    then = datetime.datetime.fromisoformat(finished)
    passed = datetime.datetime.now(datetime.UTC) - then
    return f"{duration(max(passed.total_seconds(), 0))} old"
