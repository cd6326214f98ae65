"""What two runs are compared by: their artifacts and their recipes, found by any of their names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from infra.store import Artifact, ArtifactMissing, Store
from tasks.report.side import Side
from tasks.report.stage import STAGE as REPORT


def side(named: str, store_url: str | None, default_store: str) -> Side:
    """The run that a name means: a recipe's file (what the store has of it), the id of a run, or an
    artifact `report/NAME[@version-or-tag]`.

    Args:
        store_url: the store, instead of a recipe's own.
        default_store: URL of the store of runs and reports, where `store_url` is None.

    Raises:
        ArtifactMissing: the store has no such run or report, or nothing of the recipe.
        RecipeError: what is wrong with the recipe.
    """
    if is_recipe(named):
        return of_recipe(Path(named), store_url)
    store = Store.at(store_url or default_store)
    if named.startswith(f"{REPORT.name}/"):
        return of_report(store, store.open(named))
    record = next((record for record in store.runs() if record["run"] == named), None)
    if record is None:
        known = [found["run"] for found in store.runs()][-3:]
        latest = f"; its latest runs: {', '.join(known)}" if known else ""
        raise ArtifactMissing(
            f"{named!r} is no recipe, and the store {store.root.url} has no run of that name"
            f"{latest}. Name a recipe's file, a run, or report/NAME[@version]"
        )
    found = (
        store.find(stage["stage"], stage["name"], stage["version"])
        for stage in record["stages"]
        if stage["version"]
    )
    return Side(named, grouped(found), record.get("recipe_data") or {})


def of_recipe(file: Path, store_url: str | None) -> Side:
    """What the store has of a recipe, as it is now."""
    prepared = prepare(RunRequest.of(file, None, store_url))
    steps = prepared.plan.steps.values()
    found = grouped(step.artifact for step in steps)
    if not found:
        raise ArtifactMissing(
            f"the store {prepared.store.root.url} has nothing of {file}; run it first: puna run "
            f"{file}"
        )
    return Side(prepared.recipe.name, found, prepared.recipe.data())


def of_report(store: Store, report: Artifact) -> Side:
    """The run whose report an artifact is."""
    found = (
        store.find(one.stage, one.name, one.version)
        for given in report.manifest.inputs.values()
        for one in given
    )
    title = f"{report.name}@{report.version[:6]}"
    return Side(title, grouped(found), report.manifest.parameters.get("stated") or {})


def grouped(artifacts: Iterable[Artifact | None]) -> dict[str, tuple[Artifact, ...]]:
    """Stage -> its artifacts, without reports and what is no longer in the store."""
    found: dict[str, tuple[Artifact, ...]] = {}
    for artifact in artifacts:
        if artifact is not None and artifact.stage != REPORT.name:
            found[artifact.stage] = (*found.get(artifact.stage, ()), artifact)
    return found


def is_recipe(named: str) -> bool:
    """Whether a name is a recipe's file."""
    return Path(named).suffix in (".yaml", ".yml") or Path(named).is_file()
