"""The pipeline flow: plan a recipe, then build the stages that the store does not hold.

`flows.planning.wiring` makes the graph of stages; this module only walks it.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, cast
from uuid import UUID

from prefect import State, flow, tags
from prefect.exceptions import CancelledRun, TerminationSignal
from prefect.flow_engine import run_flow
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed

from flows.monitoring import cancelling
from flows.monitoring.flow_runs import (
    begin_on_terminal,
    mark_crashed_flow_runs,
    name_run,
    short_name,
    start_pulse,
)
from flows.monitoring.listener import CONSOLE
from flows.monitoring.outages import waiting_for_server
from flows.monitoring.run_page import RunPage, earlier_seconds
from flows.planning.prepare import Prepared, prepare
from flows.planning.request import RunRequest
from flows.recipe.secrets import Plain
from flows.running.catch_up import skipped_if_overdue
from flows.running.failures import Failure, advise, in_words, traceback_of
from flows.running.promotion import conclude, settle
from flows.running.record import RunRecord, Status, mark_crashed, new_run_id, tag_found
from flows.running.results import Results
from flows.running.walk import StepFailed, walk
from flows.stage import build_stage
from infra import engine as engines
from infra import interrupts
from infra.secrets import without_secrets
from infra.stage import GateError

_PREPARED: ContextVar[Prepared | None] = ContextVar("prepared", default=None)
"""The plan that `run_prepared` passes to the flow, whose parameters are JSON, as a plan is not."""


@flow(name="puna", persist_result=False, validate_parameters=False)
def pipeline(
    recipe: Plain,
    overrides: Sequence[Plain] = (),
    only: Sequence[str] = (),
    from_stage: str = "",
    until_stage: str = "",
    force: Sequence[str] = (),
    pin: Sequence[Plain] = (),
    store: Plain = "",
) -> dict[str, Any] | State:
    """Run a recipe; returns what `puna run --json` prints.

    The plan is made here, unless `run_prepared` passes one. Raises `RecipeError` for a bad recipe,
    and `StepFailed` when a stage has failed and the stages running at that moment have finished. A
    run of a loop that is not promoted completes in a state of that name, one without anything new
    as "Nothing new".

    Args:
        recipe: The recipe's path where the run takes place.
        overrides: Values of the recipe to change, such as training.optimizer.lr=1e-4. They are
            stored and shown: credentials are refused.
        only: Run only these stages, `stage` or `stage/name`.
        from_stage: Run this stage and what follows it.
        until_stage: Run this stage and what it depends on.
        force: Build these stages again even if the store has them.
        pin: Versions to use of stages, such as tokenizer/main=3fa91c.
        store: URL of the store, instead of the recipe's.
    """
    skipped = skipped_if_overdue()
    if skipped is not None:
        return skipped
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
    ours = _PREPARED.get() is not None  # else a worker runs this, and ends it too
    with cancelling.watched(UUID(flow_run.get_id()), itself=ours) as cancelled:
        try:
            with waiting_for_server(), without_secrets():
                return _run(_prepared(request))
        except (KeyboardInterrupt, TerminationSignal):
            state = _interrupted(by_dashboard=cancelled.is_set())
            if ours or cancelled.is_set():
                return state
            raise


def _run(prepared: Prepared) -> dict[str, Any] | State:
    if prepared.nothing_new:
        nothing = nothing_new(prepared)
        return Completed(name="Nothing new", message="; ".join(nothing["notes"]), data=nothing)
    plan, run = prepared.plan, new_run_id(prepared.recipe.name)
    config = prepared.recipe.engine
    console = CONSOLE.get()
    if console is not None:
        console.planned(plan)
    name_run(UUID(flow_run.get_id()), run, plan.recipe, prepared.request.selection.only)
    with tags(plan.recipe):
        mark_crashed_flow_runs()
        mark_crashed(prepared.store)
        continues = None
        if prepared.turn is not None:
            settle(prepared.store, prepared.recipe.name)
            continues = prepared.turn.continues
        stated = prepared.stated.data()
        record = RunRecord(prepared.store, run, plan, sys.argv, stated, continues)
        record.update(flow_run_id=flow_run.get_id())
        keep_latest = bool(prepared.request.selection.pins) or prepared.turn is not None
        if not keep_latest:
            tag_found(prepared.store, plan, run)
        results = Results(plan)
        page = RunPage(UUID(flow_run.get_id()), plan, run, earlier_seconds(plan, prepared.store))
        # Remains so when a signal ends the run: KeyboardInterrupt, or Prefect's error for SIGTERM.
        status: Status = "interrupted"
        try:
            with (
                engines.start(config, prepared.store.root) as engine,
                start_pulse() as pulse,
                pulse.of(str(flow_run.get_id()), short_name(run), str(flow_run.get_flow_name())),
            ):
                build = functools.partial(
                    build_stage,
                    store=prepared.store,
                    engine=engine,
                    recipe=prepared.recipe.name,
                    run=run,
                    cpu_threads=config.thread_count(),
                    keep_latest=keep_latest,
                    access=prepared.recipe.remote.access(),
                    page=page,
                    pulse=pulse,
                )
                with _told_of_interrupts():
                    walk(
                        plan,
                        build,
                        results.built,
                        settle=functools.partial(results.settle, prepared.store),
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
            advice = advise(Failure(failure.cause, failure.step.id, failure.store)).action
            with contextlib.suppress(Exception):  # the server may be what failed
                page.advise(failure.step, in_words(failure.cause), advice)
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
                page.ended(results.stages())
    result = results.to_json(run, status)
    if status == "not promoted" and results.promotion is not None:
        reasons = "; ".join(results.promotion["reasons"])
        return Completed(name="Not promoted", message=reasons, data=result)
    return result


def nothing_new(prepared: Prepared) -> dict[str, Any]:
    """What a run of a loop returns that has nothing to do."""
    return Results(prepared.plan).to_json(None, "nothing new") | {
        "notes": prepared.turn.lines() if prepared.turn is not None else []
    }


@contextlib.contextmanager
def _told_of_interrupts() -> Iterator[None]:
    """Tell stages of an interrupt before the engine's end breaks them off."""
    try:
        yield
    except (KeyboardInterrupt, TerminationSignal):
        interrupts.ENDING.set()
        raise


def _interrupted(*, by_dashboard: bool) -> State:
    """Save what the running stages have, close their flow runs, and return the state of the
    pipeline's: Cancelled, or Interrupted after a signal.
    """
    interrupts.save_aloud()
    name, by = ("Cancelled", "on the dashboard") if by_dashboard else ("Interrupted", "by a signal")
    message = f"{name} {by}. Finished work is kept; the same run again continues"
    with contextlib.suppress(Exception):  # a lost server must not keep the run from ending
        cancelling.close_stages(UUID(flow_run.get_id()), name, message)
    return Cancelled(name=name, message=message)


def run_prepared(prepared: Prepared) -> dict[str, Any]:
    """Run the flow `puna` with an existing plan; returns and raises what the flow does, and
    `KeyboardInterrupt` after an interrupt or Cancel on the dashboard.
    """
    token = _PREPARED.set(prepared)
    try:
        parameters = prepared.request.parameters()
        begun = begin_on_terminal(pipeline, parameters, prepared.recipe.name)
        result = run_flow(pipeline, flow_run=begun, parameters=parameters)
        return cast("dict[str, Any]", result)
    except CancelledRun:
        raise KeyboardInterrupt from None
    finally:
        _PREPARED.reset(token)


def _prepared(request: RunRequest) -> Prepared:
    """The plan passed by `run_prepared` if it was made for an equal request, else a new one."""
    prepared = _PREPARED.get()
    if prepared is None or prepared.request != request:
        prepared = prepare(request)
        prepared.refuse_unresolved()
    return prepared
