"""The record of a run in the store: which process runs it, its plan, and how it ended.

A record with status "running" whose process is gone belongs to a killed run. The next run marks it
"crashed", in the store and on the dashboard.
"""

from __future__ import annotations

import datetime
import secrets
from typing import Any, Literal

from flows.planning.plan import Plan
from infra.process import is_alive, process_identity
from infra.stage import JSON
from infra.store import Store
from infra.store.store import LATEST

Status = Literal[
    "running",
    "completed",
    "not promoted",
    "failed",
    "interrupted",
    "crashed",
    "stopped-by-gate",
]


def new_run_id(recipe: str) -> str:
    """`20261121-093012-demo-3fa9`: sorts by time, names the recipe."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y%m%d-%H%M%S}-{recipe}-{secrets.token_hex(2)}"


class RunRecord:
    """The record of one run; every change is written immediately."""

    def __init__(
        self,
        store: Store,
        run: str,
        plan: Plan,
        argv: list[str],
        recipe_data: JSON,
        continues: str | None = None,
    ) -> None:
        self.run = run
        self._store = store
        self._record: dict[str, Any] = {
            "run": run,
            "recipe": plan.recipe,
            "status": "running",
            "owner": process_identity(),
            "argv": argv,
            "started": _now(),
            "stages": plan.to_json(),
            "pins": {
                step.id: {path: [pin.to_json() for pin in pins] for path, pins in step.pins.items()}
                for step in plan.steps.values()
            },
            "recipe_data": recipe_data,
            **({"continues": continues} if continues else {}),
        }
        self._write()

    def update(self, **changes: JSON) -> None:
        """Change top-level fields."""
        self._record.update(changes)
        self._write()

    def end(
        self,
        status: Status,
        stages: list[dict[str, Any]],
        failure: str = "",
        promotion: JSON = None,
    ) -> None:
        """Record the end of the run; `failure` is the traceback of the error that ended it."""
        ended: dict[str, JSON] = {"status": status, "finished": _now(), "stages": stages}
        ended |= {"failure": failure} if failure else {}
        ended |= {"promotion": promotion} if promotion is not None else {}
        self.update(**ended)

    def _write(self) -> None:
        self._store.write_run(self.run, self._record)


def tag_found(store: Store, plan: Plan, run: str) -> None:
    """Tag as the recipe's latest what it has none of yet and another recipe has built, so that
    `artifact:RECIPE/...@latest` names it too.
    """
    for step in plan.steps.values():
        stage, name = step.node.stage.name, step.node.name
        if step.artifact is not None and store.reference(plan.recipe, stage, name) is None:
            store.set_reference(plan.recipe, step.artifact, LATEST, run)


def mark_crashed(store: Store) -> list[str]:
    """Mark the records of killed runs as crashed and return their ids."""
    crashed = []
    for record in store.runs():
        if record["status"] == "running" and is_alive(record["owner"]) is False:
            store.write_run(record["run"], record | {"status": "crashed", "finished": _now()})
            crashed.append(record["run"])
    return crashed


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
