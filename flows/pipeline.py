"""The pipeline flow: plan a recipe, then build the stages that the store does not hold.

`flows.planning.wiring` makes the graph of stages; this module only walks it.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from prefect import flow, tags
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.monitoring.dashboard import publish_run
from flows.monitoring.listener import CONSOLE
from flows.planning.prepare import Prepared, prepare
from flows.planning.request import RunRequest
from flows.running.failures import traceback_of
from flows.running.promotion import conclude, settle
from flows.running.record import RunRecord, Status, mark_crashed, new_run_id
from flows.running.results import Results
from flows.running.walk import StepFailed, walk
from flows.stage import build_stage
from infra import engine as engines
from infra.process import is_alive, process_identity
from infra.stage import GateError

RUN_TAG = "puna-run:"
"""Prefix of the tag that every stage's flow run carries, followed by the run's id."""

PROCESS_TAG = "puna-process:"
"""Prefix of the tag that every flow run of `puna run` carries, followed by host, pid and start of
its process. It tells the next run which flow runs were killed, even those killed before their
record was written.
"""

_PREPARED: ContextVar[Prepared | None] = ContextVar("prepared", default=None)
"""The plan that `run_prepared` passes to the flow, whose parameters are JSON, as a plan is not."""


def _run_name() -> str:
    """The recipe's file name without extension, the name of the run on the dashboard."""
    return Path(flow_run.get_parameters()["recipe"]).stem


@flow(name="puna", flow_run_name=_run_name, persist_result=False, validate_parameters=False)
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

    Parameters are plain JSON, so that a run can be started from anywhere. The plan is made here,
    unless `run_prepared` passes one. A run of a loop that is not promoted completes in a state of
    that name, one without anything new as "Nothing new".

    Raises `RecipeError` for a bad recipe, and `StepFailed` when a stage has failed and the stages
    running at that moment have finished.
    """
    request = RunRequest.of(
        recipe,
        overrides,
        store,
        only=only,
        from_stage=from_stage,
        until_stage=until_stage,
        force=force,
        pin=pin,
    )
    prepared = _prepared(request)
    if prepared.nothing_new:
        result = nothing_new(prepared)
        return Completed(name="Nothing new", message="; ".join(result["notes"]), data=result)  # type: ignore[return-value]
    plan, run = prepared.plan, new_run_id(prepared.recipe.name)
    config = prepared.recipe.engine
    console = CONSOLE.get()
    if console is not None:
        console.planned(plan)
    with tags(f"{RUN_TAG}{run}"):
        mark_flow_runs_crashed()
        mark_crashed(prepared.store)
        continues = None
        if prepared.turn is not None:
            settle(prepared.store, prepared.recipe.name)
            continues = prepared.turn.continues
        stated = prepared.stated.data()
        record = RunRecord(prepared.store, run, plan, sys.argv, stated, continues)
        record.update(flow_run_id=flow_run.get_id())
        results = Results(plan)
        # Remains so when a signal ends the run: KeyboardInterrupt, or Prefect's error for SIGTERM.
        status: Status = "interrupted"
        try:
            with engines.start(config) as engine:
                build = functools.partial(
                    build_stage,
                    store=prepared.store,
                    engine=engine,
                    recipe=prepared.recipe.name,
                    run=run,
                    cpu_threads=config.thread_count(),
                    keep_latest=bool(request.selection.pins) or prepared.turn is not None,
                    access=prepared.recipe.remote.access(),
                )
                walk(
                    plan,
                    build,
                    results.built,
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
            failure.store = prepared.store.root.url
            raise
        except Exception:
            status = "failed"
            raise
        finally:
            cause = results.failure.cause if results.failure else None
            with contextlib.ExitStack() as stack:
                # A full disk or a lost server must not hide the first error.
                if status not in ("completed", "not promoted"):
                    stack.enter_context(contextlib.suppress(Exception))
                failure_text = traceback_of(cause) if cause else ""
                record.end(status, results.stages(), failure_text, results.promotion)
                publish_run(plan, results.stages(), run)
    result = results.to_json(run, status)
    if status == "not promoted" and results.promotion is not None:
        reasons = "; ".join(results.promotion["reasons"])
        return Completed(name="Not promoted", message=reasons, data=result)  # type: ignore[return-value]
    return result


def nothing_new(prepared: Prepared) -> dict[str, Any]:
    """What a run of a loop returns that has nothing to do."""
    return Results(prepared.plan).to_json(None, "nothing new") | {
        "notes": prepared.turn.lines() if prepared.turn is not None else []
    }


def run_prepared(prepared: Prepared) -> dict[str, Any]:
    """Run the flow `puna` with an existing plan; returns and raises what the flow does."""
    token = _PREPARED.set(prepared)
    try:
        result: dict[str, Any] = pipeline(**prepared.request.parameters())
        return result
    finally:
        _PREPARED.reset(token)


def _prepared(request: RunRequest) -> Prepared:
    """The plan passed by `run_prepared` if it was made for an equal request, else a new one."""
    prepared = _PREPARED.get()
    if prepared is None or prepared.request != request:
        prepared = prepare(request)
        prepared.refuse_unresolved()
    return prepared


def process_tag() -> str:
    """The tag of this process's flow runs."""
    me = process_identity()
    return f"{PROCESS_TAG}{me['host']}:{me['pid']}:{me['started']}"


def _was_killed(tag: str) -> bool:
    host, pid, started = tag.removeprefix(PROCESS_TAG).rsplit(":", 2)
    return is_alive({"host": host, "pid": int(pid), "started": started}) is False


def mark_flow_runs_crashed() -> None:
    """Tell Prefect which unfinished flow runs of this host have lost their process."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Crashed

    unfinished = FlowRunFilter.model_validate(
        {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}
    )
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=unfinished, limit=200):
            if any(_was_killed(tag) for tag in run.tags if tag.startswith(PROCESS_TAG)):
                client.set_flow_run_state(
                    run.id, Crashed(message="the process was killed"), force=True
                )
