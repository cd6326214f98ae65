"""`puna promote`: point a recipe's `latest` tags at a run by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.common import JsonOption, StoreUrl, find_artifact, find_store, put, refusals

if TYPE_CHECKING:
    from infra.store import Store


def promote(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REF",
            help="A run (its id, or how it begins), or an artifact that it built: "
            "stage/name[@version-or-tag].",
            show_default=False,
        ),
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the promotion.")] = "",
    store: StoreUrl = "artifacts",
    as_json: JsonOption = False,
) -> None:
    """Promote a finished run by hand: its artifacts become its recipe's `latest`, and the next run
    of a recipe with a loop continues it. Also the way back to an earlier run.
    """
    from infra.store import promotions

    with refusals():
        opened = find_store(store)
        record = promotions.run_record(opened, _run_named(opened, store, reference))
        _refuse_unfinished(record)
        artifacts = promotions.artifacts_of(opened, record)
        made = promotions.promote(
            opened, record["recipe"], record["run"], artifacts, by="hand", reason=reason
        )
    if as_json:
        put(json.dumps(made.to_json(), ensure_ascii=False))
        return
    before = f" (before: {made.before})" if made.before else ""
    put(f"{made.recipe}: latest -> run {made.run}, {len(artifacts)} artifacts{before}")


def _run_named(store: Store, url: str, reference: str) -> str:
    """The id of the run that a REF names. Raises `StageError`."""
    from infra.stage import StageError

    if "/" in reference:
        return str(find_artifact(url, reference).manifest.run)
    runs: list[str] = [record["run"] for record in store.runs()]
    found = [run for run in runs if run == reference] or [
        run for run in runs if run.startswith(reference)
    ]
    if len(found) != 1:
        what = f"begins {len(found)} runs" if found else "is no run"
        listed = ", ".join((found or runs)[-5:]) or "none"
        raise StageError(f"{reference} {what} of {store.root.url}; it has: {listed}")
    return found[0]


def _refuse_unfinished(record: dict[str, Any]) -> None:
    """Raise `StageError` for a run that was not finished, or of which only a part was run."""
    from infra.stage import StageError
    from infra.store import promotions

    if record["status"] not in promotions.FINISHED:
        raise StageError(
            f"run {record['run']} is {record['status']}; promote one that finished: run the recipe "
            "again first"
        )
    skipped = [stage for stage in record["stages"] if stage.get("result") == "skipped"]
    if skipped:
        raise StageError(
            f"run {record['run']} built only a part of the recipe (not "
            f"{skipped[0]['stage']}/{skipped[0]['name']}); promote one that built all of it"
        )
