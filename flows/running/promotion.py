"""The end of a run of a recipe with a loop: whether it is promoted, and the promotion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flows.planning.prepare import Prepared
from infra.store import Artifact, Store, promotions
from tasks.scorecard.stage import STAGE as SCORECARD


@dataclass(frozen=True)
class Verdict:
    """Whether a run was promoted, or why not. `before`: the run promoted until then. `refused`:
    whether scores or another run speak against it, not just that a part was run.
    """

    run: str
    before: str | None
    promoted: bool
    reasons: tuple[str, ...] = ()
    refused: bool = False

    def to_json(self) -> dict[str, Any]:
        """The `promotion` of a run's record and of `puna run --json`."""
        return {
            "promoted": self.promoted,
            "reasons": list(self.reasons),
            "from": self.before,
            "to": self.run if self.promoted else self.before,
        }


def conclude(prepared: Prepared, artifacts: Mapping[str, Artifact], run: str) -> Verdict | None:
    """Promote a finished run unless something speaks against it; None for a recipe without a loop.

    `artifacts`: `stage/name` -> artifact of the whole plan.
    """
    if prepared.turn is None:
        return None
    store, recipe = prepared.store, prepared.recipe.name
    before = promotions.promoted_run(store, recipe)
    if why := _is_part(prepared):
        return Verdict(run, before, False, (why,))
    reasons = [
        reason
        for artifact in artifacts.values()
        if artifact.stage == SCORECARD.name
        for reason in artifact.statistics["refused"]
    ]
    overtaken = before != prepared.turn.continues
    if overtaken and before is not None and _is_same(store, before, artifacts):
        return Verdict(run, before, False, (f"run {before}, beside this one, made the same",))
    if overtaken:
        reasons.append(
            f"run {before} was promoted while this one ran, so that it lacks what this one does "
            "not build on; run the recipe again"
        )
    if reasons:
        return Verdict(run, before, False, tuple(reasons), refused=True)
    promotions.promote(store, recipe, run, artifacts.values())
    return Verdict(run, before, True)


def _is_same(store: Store, run: str, artifacts: Mapping[str, Artifact]) -> bool:
    """Whether another run has just these artifacts."""
    stages = promotions.run_record(store, run)["stages"]
    others = {f"{other['stage']}/{other['name']}@{other['version']}" for other in stages}
    return others == {made.identity for made in artifacts.values()}


def settle(store: Store, recipe: str) -> None:
    """Point the tags again where the promoted run was killed while it did so."""
    run = promotions.promoted_run(store, recipe)
    if run is None:
        return
    record = promotions.run_record(store, run)
    if record["status"] not in promotions.FINISHED:
        promotions.point_tags(store, recipe, run, promotions.artifacts_of(store, record))
        store.write_run(run, record | {"status": "completed"})


def _is_part(prepared: Prepared) -> str:
    """Why a run is not the whole recipe; "" if it is."""
    turn, selection = prepared.turn, prepared.request.selection
    if turn is not None and turn.again:
        return f"it is run {turn.promoted} once more; promote it by hand: puna promote RUN"
    if selection.pins:
        return "--pin chose versions; promote it by hand: puna promote RUN"
    if any(step.state == "skipped" for step in prepared.plan.steps.values()):
        return "only a part of the recipe was run"
    return ""
