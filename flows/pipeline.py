"""The pipeline flow: plan a recipe, then build, stage by stage, what the store does not hold.

The list of stages itself stands in `flows.stages`; this module only walks it.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from prefect import flow, tags
from prefect.runtime import flow_run

from flows.dashboard import publish_run
from flows.listener import CONSOLE
from flows.plan import Selection
from flows.prepare import prepare
from flows.results import Results
from flows.runs import RunRecord, Status, mark_crashed, new_run_id
from flows.stage import build_stage
from flows.walk import StepFailed, walk
from infra import engine as engines
from infra.stage import GateError

RUN_TAG = "puna-run:"
"""Every flow run of a run carries this tag with the run's id."""


@flow(name="puna", flow_run_name="{recipe}", persist_result=False, validate_parameters=False)
def pipeline(
    recipe: str,
    overrides: list[str] | None = None,
    only: list[str] | None = None,
    from_stage: str | None = None,
    until_stage: str | None = None,
    force: list[str] | None = None,
    pin: dict[str, str] | None = None,
    store: str | None = None,
) -> dict[str, Any]:
    """Run a recipe; returns what `puna run --json` prints.

    Raises `RecipeError` for a bad recipe and `StepFailed` when a stage fails, after what ran beside it has finished.
    """
    selection = Selection(tuple(only or ()), from_stage, until_stage, tuple(force or ()), pin or {})
    prepared = prepare(recipe, overrides or (), store, selection)
    prepared.refuse_unresolved()
    plan, run = prepared.plan, new_run_id(prepared.recipe.name)
    config = prepared.recipe.engine
    console = CONSOLE.get()
    if console is not None:
        console.planned(plan)
    with tags(f"{RUN_TAG}{run}"):
        mark_flow_runs_crashed(mark_crashed(prepared.store))
        record = RunRecord(prepared.store, run, plan, sys.argv, prepared.recipe.data())
        record.update(flow_run_id=flow_run.get_id())
        results = Results(plan)
        status: Status = "failed"
        try:
            with engines.start(config) as engine:
                build = functools.partial(
                    build_stage,
                    store=prepared.store,
                    engine=engine,
                    recipe=prepared.recipe.name,
                    run=run,
                    cpu_threads=config.thread_count(),
                    keep_latest=bool(selection.pins),
                )
                walk(plan, build, results.built, side_by_side=engine.workers)
            status = "completed"
        except StepFailed as failure:
            results.failure = failure
            status = "stopped-by-gate" if isinstance(failure.cause, GateError) else "failed"
            raise
        except (KeyboardInterrupt, SystemExit):
            status = "interrupted"
            raise
        finally:
            record.end(status, results.stages())
            publish_run(plan, results.stages(), run)
    return results.to_json(run, status)


def mark_flow_runs_crashed(runs: list[str]) -> None:
    """Tell Prefect that the flow runs of killed runs crashed."""
    if not runs:
        return
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Crashed

    with get_client(sync_client=True) as client:
        for run in runs:
            tagged = FlowRunFilter.model_validate({"tags": {"all_": [f"{RUN_TAG}{run}"]}})
            for found in client.read_flow_runs(flow_run_filter=tagged):
                if found.state is None or not found.state.is_final():
                    client.set_flow_run_state(found.id, Crashed(message="the process was killed"), force=True)
