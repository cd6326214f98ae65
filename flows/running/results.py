"""The outcome of a run, as `puna run --json` prints it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.planning.plan import Plan, Step, settled
from flows.running.places import places_of
from flows.running.walk import StepFailed
from infra.store import Artifact, Store
from tasks.benchmarks.samples import read_items
from tasks.benchmarks.scores import sources_of
from tasks.documents.proposals import is_proxy
from tasks.report.notes import notes_of
from tasks.report.scores import changes


class Results:
    """The outcome of every step of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.built: dict[str, Artifact] = {}
        self._settled: dict[str, Step] = {}
        self.failure: StepFailed | None = None
        self.promotion: dict[str, Any] | None = None
        """Of a recipe with a loop: whether the run was promoted, from which run, or why not."""

    def settle(self, store: Store, step: Step, artifacts: Mapping[str, Artifact]) -> Step:
        """The step with the version that it really has, see `flows.planning.plan.settled`."""
        self._settled[step.id] = found = settled(step, artifacts, store)
        return found

    def stages(self) -> list[dict[str, Any]]:
        """The stages of `puna run --json`."""
        rows = []
        steps = {id: self._settled.get(id, step) for id, step in self.plan.steps.items()}
        plan = Plan(self.plan.recipe, steps)
        for row, step in zip(plan.to_json(), steps.values(), strict=True):
            artifact = self.built.get(step.id) or step.artifact
            result, why, seconds = row["result"], row["why"], None
            if step.state == "run":
                result = "built" if step.id in self.built else "skipped"
                if self.failure is not None and self.failure.step.id == step.id:
                    result, why = "failed", str(self.failure.cause)
                if step.id in self.built and artifact is not None:
                    seconds = artifact.manifest.seconds
            path = (
                artifact.data.url if artifact is not None and result in ("hit", "built") else None
            )
            rows.append(row | {"result": result, "why": why, "seconds": seconds, "path": path})
        return rows

    def artifacts(self) -> dict[str, Artifact]:
        """`stage/name` -> every artifact that there is, in the plan's order."""
        found = {id: self.built.get(id) or step.artifact for id, step in self.plan.steps.items()}
        return {id: artifact for id, artifact in found.items() if artifact is not None}

    def to_json(self, run: str | None, status: str) -> dict[str, Any]:
        """The one object `puna run --json` prints."""
        by_stage: dict[str, list[Artifact]] = {}
        for id, artifact in self.artifacts().items():
            if is_proxy(id):
                continue  # told as what a mixture was found by
            by_stage.setdefault(artifact.stage, []).append(artifact)
        scores = {a.name: a.statistics.get("scores", {}) for a in by_stage.get("evaluation", ())}
        items = {a.name: read_items(a) for a in by_stage.get("evaluation", ())}
        report = next(
            (a for a in by_stage.get("report", ()) if a.records.exists("report.html")),
            None,
        )
        return {
            "run": run,
            "recipe": self.plan.recipe,
            "status": status,
            "stages": self.stages(),
            "places": places_of(by_stage),
            "report": report.records.place("report.html") if report else None,
            "scores": scores,
            "changes": changes(scores, items),
            "notes": [
                *notes_of(by_stage),
                *sources_of(row for found in scores.values() for row in found.values()),
            ],
            **({"promotion": self.promotion} if self.promotion is not None else {}),
        }
