"""Run a recipe's plan without Prefect: the same plan, walk and build as the pipeline, in this
process.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flows.planning.plan import Step
from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.running.walk import walk
from infra import engine as engines
from infra.build import Order, build
from infra.engine import EngineConfig
from infra.store import Artifact
from infra.store.store import LATEST


def run_direct(
    recipe: Path,
    store: Path,
    engine: EngineConfig,
    *,
    until: str | None = None,
    only: tuple[str, ...] = (),
) -> dict[str, Artifact]:
    """Build what the store lacks; returns `stage/name` -> artifact of everything selected, in plan
    order.
    """
    prepared = prepare(RunRequest.of(recipe, store=str(store), only=only, until_stage=until))
    prepared.refuse_unresolved()
    built: dict[str, Artifact] = {}

    with engines.start(engine) as started:

        def one(step: Step, inputs: Mapping[str, tuple[Artifact, ...]]) -> Artifact:
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
                cpu_threads=engine.thread_count(),
                access=prepared.recipe.remote.access(),
            )
            prepared.store.set_reference(prepared.recipe.name, artifact, LATEST)
            return artifact

        walk(prepared.plan, one, built, side_by_side=started.workers)
    return {
        id: built.get(id) or step.artifact
        for id, step in prepared.plan.steps.items()
        if id in built or (step.state == "hit" and step.artifact)
    }


def digests(artifacts: Mapping[str, Artifact]) -> dict[str, str]:
    """`stage/name` -> digest of its data, in name order."""
    return {id: artifact.digest for id, artifact in sorted(artifacts.items())}
