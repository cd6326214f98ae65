"""Run a recipe's plan without Prefect: the same plan, walk and build as the pipeline, in this
process.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.planning.plan import Step
from flows.planning.prepare import Prepared, prepare
from flows.planning.request import RunRequest
from flows.running.promotion import conclude
from flows.running.record import RunRecord, Status, new_run_id
from flows.running.results import Results
from flows.running.walk import walk
from infra import engine as engines
from infra.build import Order, build
from infra.engine import EngineConfig
from infra.store import Artifact
from infra.store.store import LATEST


def run_direct(
    recipe: Path,
    store: Path | str,
    engine: EngineConfig,
    *,
    until: str | None = None,
    only: tuple[str, ...] = (),
    overrides: tuple[str, ...] = (),
) -> dict[str, Artifact]:
    """Build what the store lacks; returns `stage/name` -> artifact of everything selected, in plan
    order.
    """
    request = RunRequest.of(recipe, overrides, str(store), only=only, until_stage=until)
    prepared = prepare(request)
    prepared.refuse_unresolved()
    built = build_plan(prepared, engine)
    return {
        id: built.get(id) or step.artifact
        for id, step in prepared.plan.steps.items()
        if id in built or (step.state == "hit" and step.artifact)
    }


def run_turn(recipe: Path, store: Path, engine: EngineConfig) -> dict[str, Any]:
    """Run a recipe with a loop as the pipeline does; returns what `puna run --json` prints."""
    prepared = prepare(RunRequest.of(recipe, store=str(store)))
    prepared.refuse_unresolved()
    results = Results(prepared.plan)
    if prepared.nothing_new:
        return results.to_json(None, "nothing new")
    assert prepared.turn is not None
    run, stated = new_run_id(prepared.recipe.name), prepared.stated.data()
    record = RunRecord(prepared.store, run, prepared.plan, [], stated, prepared.turn.continues)
    build_plan(prepared, engine, run, results)
    verdict = conclude(prepared, results.artifacts(), run)
    assert verdict is not None
    results.promotion = verdict.to_json()
    status: Status = "not promoted" if verdict.refused else "completed"
    record.end(status, results.stages(), promotion=results.promotion)
    return results.to_json(run, status)


def build_plan(
    prepared: Prepared, engine: EngineConfig, run: str = "", results: Results | None = None
) -> dict[str, Artifact]:
    """Build what is to run; returns `stage/name` -> artifact of that."""
    results = results or Results(prepared.plan)
    built = results.built

    with engines.start(engine) as started:

        def one(step: Step, inputs: Mapping[str, tuple[Artifact, ...]]) -> Artifact:
            if step.state == "hit" and step.artifact is not None:
                return step.artifact
            order = Order(
                step.node.stage,
                step.node.name,
                step.version or "",
                step.node.parameters,
                inputs,
                step.pins,
            )
            artifact = build(
                order,
                prepared.store,
                started,
                run=run,
                cpu_threads=engine.thread_count(),
                access=prepared.recipe.remote.access(),
            )
            if prepared.turn is None:
                prepared.store.set_reference(prepared.recipe.name, artifact, LATEST)
            return artifact

        settle = functools.partial(results.settle, prepared.store)
        walk(prepared.plan, one, built, settle=settle, side_by_side=started.workers)
    return built


def digests(artifacts: Mapping[str, Artifact]) -> dict[str, str]:
    """`stage/name` -> digest of its data, in name order."""
    return {id: artifact.digest for id, artifact in sorted(artifacts.items())}
