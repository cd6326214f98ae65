"""`puna trace`: the documents behind a training step with the records they were read from, and
what became of a document.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.common import (
    JsonOption,
    RecipeArgument,
    SetOption,
    StoreOption,
    find_input,
    put,
    refusals,
)

SHORTEST_ID = 8
"""Digits of an id that are taken for one."""

if TYPE_CHECKING:
    from rich.table import Table

    from flows.planning.prepare import Prepared
    from infra.store import Artifact, Store


def trace(
    recipe: RecipeArgument,
    phase: Annotated[
        str | None,
        typer.Argument(help="A phase of its training, such as inject.", show_default=False),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option("--step", help="Optimizer step of that phase, from 1, as in metrics.jsonl."),
    ] = None,
    document: Annotated[
        str | None,
        typer.Option(
            "--document",
            metavar="ID",
            help="Instead of a phase: a document's id, how it begins (8 digits or more), or its "
            "URL.",
        ),
    ] = None,
    set_: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the documents that a training step read: category, bin, row, URL, and the file and byte
    they came from. With --document, tell what every stage made of a document: its labels and
    scores, why it was dropped, of which it is a duplicate, how often training reads it.
    """
    from flows.planning.prepare import prepare
    from flows.planning.request import RunRequest
    from infra.stage import StageError

    with refusals():
        if (document is None) == (phase is None or step is None):
            raise StageError(
                "state a phase and --step, to list the documents of a training step; or --document "
                "alone, to see what became of a document"
            )
        prepared = prepare(RunRequest.of(recipe, set_, store), made=True)
        if document is not None:
            _tell(prepared, document, as_json)
            return
        if phase is None or step is None:
            return
        artifact = _trained(prepared, str(recipe), phase)
        rows = _rows(prepared.store, artifact, step)
    if as_json:
        put(
            json.dumps(
                {"artifact": artifact.identity, "step": step, "rows": rows}, ensure_ascii=False
            )
        )
        return
    from flows.monitoring.console import result_console

    result_console().print(_table(rows))


def _tell(prepared: Prepared, wanted: str, as_json: bool) -> None:
    """Print the fates of the documents of that id or URL."""
    from flows.inspecting.fate import fates
    from infra.stage import StageError

    if "/" not in wanted and len(wanted) < SHORTEST_ID:
        raise StageError(
            f"--document {wanted}: give {SHORTEST_ID} or more digits of the id, or the URL"
        )
    artifacts = {
        id: step.artifact for id, step in prepared.plan.steps.items() if step.artifact is not None
    }
    found = fates(artifacts, wanted)
    if not found:
        sources = ", ".join(a.name for a in artifacts.values() if a.stage == "ingest") or "none yet"
        raise StageError(
            f"no document has the id or URL {wanted!r}; sources read: {sources}. Ids are in `puna "
            "inspect` and in lines of select; of records without a document tells: puna inspect "
            "--stage ingest --dropped"
        )
    if as_json:
        put(json.dumps({"documents": [one.json() for one in found]}, ensure_ascii=False))
        return
    from rich.table import Table
    from rich.text import Text

    from flows.monitoring.console import result_console

    console = result_console()
    for one in found:
        console.print(Text(f"{one.place.id}  {one.place.source}  {one.place.url}"), soft_wrap=True)
        table = Table(box=None, pad_edge=False, show_header=False)
        for told in one.told:
            table.add_row(*map(Text, ("", told.artifact, told.fate, told.what)))
        console.print(table)


def _trained(prepared: Prepared, recipe: str, phase: str) -> Artifact:
    """The artifact of a phase, as the recipe is now."""
    from flows.recipe.errors import nearest
    from infra.stage import StageError

    phases = [
        step.node.name
        for step in prepared.plan.steps.values()
        if step.node.stage.name == "training"
    ]
    if phase not in phases:
        there = ", ".join(phases) or "none"
        raise StageError(
            f"this recipe has no phase {phase!r}{nearest(phase, phases)}; it has: {there}"
        )
    step = prepared.plan.steps[f"training/{phase}"]
    if step.state == "unresolved":
        prepared.refuse_unresolved()
    if step.artifact is None:
        raise StageError(
            f"phase {phase!r} is not trained yet ({step.why}); train it: puna run {recipe} --until "
            f"{step.id}"
        )
    return step.artifact


def _rows(store: Store, artifact: Artifact, step: int) -> list[dict[str, Any]]:
    """The rows of a step in sampling order, each with its pieces of documents and their origins."""
    from infra.stage import StageError
    from tasks.ingest.origins import origins
    from tasks.training.run import bins_of, state_of
    from tasks.training.spec import Carried
    from tasks.training.stage import TrainingParameters
    from tasks.training.trace import trace as traced_rows

    parameters = TrainingParameters.model_validate(artifact.manifest.parameters)
    inputs = artifact.manifest.inputs
    bins = [find_input(store, given) for given in inputs["bins"]]
    carried = Carried.read(state_of(find_input(store, inputs["previous"][0])))
    try:
        traced = traced_rows(parameters, bins_of(parameters, bins), carried, step)
    except ValueError as error:
        raise StageError(f"{artifact.identity}: {error}") from None
    selected = [
        find_input(store, given) for made in bins for given in made.manifest.inputs["select"]
    ]
    documents = {
        given.name: given for made in selected for given in made.manifest.inputs["documents"]
    }
    ids = [document.id for row in traced for document in row.documents]
    found = origins([find_input(store, given) for given in documents.values()], ids)
    return [
        {
            "category": row.row.category,
            "bin": Path(row.bin).name,
            "row": row.bin_row,
            "epoch": row.row.epoch,
            "documents": [
                {**document._asdict(), "origin": vars(found[document.id])}
                for document in row.documents
            ],
        }
        for row in traced
    ]


def _table(rows: list[dict[str, Any]]) -> Table:
    """A line for each piece of a document. Cells are plain text, as URLs may look like markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("category", "bin", "row", "tokens", "document", "url", "file", "byte"):
        numeric = column in ("row", "tokens", "byte")
        table.add_column(
            column,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=column == "document",
        )
    for row in rows:
        for document in row["documents"]:
            table.add_row(*map(Text, _cells(row, document)))
    return table


def _cells(row: Mapping[str, Any], document: Mapping[str, Any]) -> tuple[str, ...]:
    origin = document["origin"]
    where = (row["category"], row["bin"], f"{row['row']}", f"{document['length']}")
    return *where, document["id"], origin["url"], origin["file"], f"{origin['offset']}"
