"""The flow `puna-maintenance`: verify a store, remove what nothing needs, show its size."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import Any, Literal

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Failed

from flows.monitoring.cards import card_key
from flows.monitoring.flow_runs import mark_crashed_flow_runs
from flows.recipe.secrets import Plain
from flows.running.record import mark_crashed
from infra.secrets import without_secrets
from infra.store import Artifact, Store
from infra.store.operations import garbage, verify

TRAINED = ("training", "model", "tokenizer")
"""Stages whose artifacts maintenance never deletes: `puna artifacts gc` does, by hand."""


@flow(name="puna-maintenance", persist_result=False, validate_parameters=False)
@without_secrets()
def maintenance(
    store: Plain,
    what: Literal["everything", "verify", "gc", "disk"] = "everything",
    apply: bool = False,
    keep_runs: int = 3,
) -> dict[str, Any]:
    """Look after a store: verify its files, list or delete garbage, show disk use.

    Fails if a file is damaged. Runs whose process is gone are marked as crashed first.

    Args:
        store: URL of the store.
        what: What to do.
        apply: Delete the garbage that gc finds, except trained models; otherwise only list it.
        keep_runs: Newest runs that built something whose artifacts gc keeps.
    """
    opened = Store.at(store)
    mark_crashed(opened)
    mark_crashed_flow_runs()
    problems: list[str] = []
    found: dict[str, Any] = {}
    artifacts = list(opened.artifacts(problems))
    if what in ("everything", "disk"):
        found["disk"] = _disk(opened, artifacts)
    if what in ("everything", "verify"):
        problems += opened.damaged_records()
        for artifact in artifacts:
            problems += verify(artifact)
        _table("verify", [{"problem": problem} for problem in problems], "Damaged files")
        found["verified"] = len(artifacts)
    if what in ("everything", "gc") and not problems:
        found["garbage"] = _collect(opened, apply, keep_runs)
    for problem in problems:
        get_run_logger().error(problem)
    if problems:
        message = f"{len(problems)} problems in {store}; the first: {problems[0]}"
        ended: State[Any] = Failed(message=message, data=found)
        return ended  # type: ignore[return-value]
    return found


def _disk(store: Store, artifacts: list[Artifact]) -> dict[str, int]:
    """Bytes by stage, largest first, and what is free where the store is a folder."""
    used: Counter[str] = Counter()
    for artifact in artifacts:
        used[artifact.stage] += sum(output.bytes for output in artifact.manifest.outputs)
    rows = [{"stage": stage, "GB": round(size / 1e9, 3)} for stage, size in used.most_common()]
    root = store.root.local_root
    if root is not None:
        rows.append({"stage": "(free)", "GB": round(shutil.disk_usage(root).free / 1e9, 3)})
    _table("disk", rows, f"Disk use of {store.root.url}")
    return dict(used)


def _collect(store: Store, apply: bool, keep_runs: int) -> list[str]:
    """What gc deletes or, without `apply`, would delete."""
    items = [item for item in garbage(store, keep_runs) if item.stage not in TRAINED]
    done = "deleted" if apply else "could be deleted (run with `apply`)"
    rows = [{"garbage": item.what, "GB": round(item.bytes / 1e9, 3)} for item in items]
    _table("gc", rows, f"{sum(item.bytes for item in items) / 1e9:.3f} GB {done}")
    for item in items if apply else ():
        item.home.remove()
    return [item.what for item in items]


def _table(what: str, rows: list[dict[str, Any]], description: str) -> None:
    if rows:
        create_table_artifact(rows, key=card_key("maintenance", what), description=description)
