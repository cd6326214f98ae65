"""`puna run` without Prefect: the same plan, walk, records, reports and endings, no flow runs."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any
from unittest import mock

from flows.monitoring.listener import CONSOLE, Listeners
from flows.planning.plan import Step
from flows.planning.prepare import Prepared
from flows.running.promotion import conclude, settle
from flows.running.record import RunRecord, Status, mark_crashed, new_run_id, tag_found
from flows.running.results import Results
from flows.running.walk import StepFailed, walk
from infra import engine as engines
from infra import interrupts
from infra.build import Order
from infra.stage import GateError
from infra.store import Artifact
from infra.store.store import LATEST
from tests.end_to_end import direct


def patch() -> None:
    """Have this process run recipes without Prefect from now on."""
    mock.patch("flows.cli.running._begin_server", lambda: None).start()
    mock.patch("flows.pipeline.run_prepared", run_prepared).start()


def run_prepared(prepared: Prepared) -> dict[str, Any]:
    """As `flows.pipeline.run_prepared`, which see."""
    plan, store, config = prepared.plan, prepared.store, prepared.recipe.engine
    run = new_run_id(prepared.recipe.name)
    mark_crashed(store)
    continues = None
    if prepared.turn is not None:
        settle(store, prepared.recipe.name)
        continues = prepared.turn.continues
    record = RunRecord(store, run, plan, sys.argv, prepared.stated.data(), continues)
    keep_latest = bool(prepared.request.selection.pins) or prepared.turn is not None
    if not keep_latest:
        tag_found(store, plan, run)
    results = Results(plan)
    console = CONSOLE.get()
    listener = Listeners([console] if console else [])
    status: Status = "interrupted"

    def one(step: Step, inputs: Mapping[str, tuple[Artifact, ...]]) -> Artifact:
        if step.state == "hit" and step.artifact is not None:
            if not keep_latest:
                store.set_reference(prepared.recipe.name, step.artifact, LATEST, run)
            return step.artifact
        node = step.node
        listener.started(step)
        order = Order(node.stage, node.name, step.version or "", node.parameters, inputs, step.pins)
        artifact = direct.build(
            order,
            store,
            engine,
            run=run,
            cpu_threads=config.thread_count(),
            force=step.forced,
            access=prepared.recipe.remote.access(),
            on_wait=lambda holder: listener.waiting(step, holder),
        )
        if not keep_latest:
            store.set_reference(prepared.recipe.name, artifact, LATEST, run)
        return artifact

    try:
        with engines.start(config, store.root) as engine:
            walk(
                plan,
                one,
                results.built,
                settle=functools.partial(results.settle, store),
                side_by_side=engine.workers,
                exclusive_at_once=config.processes_at_once(),
            )
        verdict = conclude(prepared, results.artifacts(), run)
        results.promotion = verdict.to_json() if verdict is not None else None
        status = "not promoted" if verdict is not None and verdict.refused else "completed"
    except StepFailed as failure:
        results.failure = failure
        status = "stopped-by-gate" if isinstance(failure.cause, GateError) else "failed"
        failure.result = results.to_json(run, status)
        failure.store = store.root.url
        raise
    except Exception:
        status = "failed"
        raise
    except KeyboardInterrupt:
        interrupts.ENDING.set()
        raise
    finally:
        cause = results.failure.cause if results.failure else None
        try:
            record.end(status, results.stages(), str(cause or ""), results.promotion)
        except Exception:
            if status in ("completed", "not promoted"):
                raise
    return results.to_json(run, status)
