"""A stage as a Prefect flow, one flow run for each stage that a run builds."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from prefect import flow, tags
from prefect.runtime import flow_run
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.monitoring.dashboard import StagePage
from flows.monitoring.flow_runs import short_name
from flows.monitoring.listener import CONSOLE, Listener, Listeners
from flows.monitoring.outages import begin_when_answered, waiting_for_server
from flows.monitoring.pulse import Pulse
from flows.planning.plan import Step
from infra.build import Order, build
from infra.engine import Engine
from infra.interrupts import ENDING
from infra.remote.access import Access
from infra.store import Artifact, Store
from infra.store.store import LATEST


def build_stage(
    step: Step,
    inputs: Mapping[str, tuple[Artifact, ...]],
    *,
    store: Store,
    engine: Engine,
    recipe: str,
    run: str,
    cpu_threads: int,
    keep_latest: bool,
    access: Access,
    page: Listener,
    pulse: Pulse,
) -> Artifact:
    """Build one step in its own Prefect flow run; `page` and `pulse` are the run's. One that turned
    out to be there already has no flow run.
    """
    node, version = step.node, step.version or ""
    console = CONSOLE.get()
    if step.state == "hit" and step.artifact is not None:
        Listeners([page, *([console] if console else [])]).found(step, step.artifact)
        if not keep_latest:
            store.set_reference(recipe, step.artifact, LATEST, run)
        return step.artifact
    called = f"{short_name(run)}: {node.id}"

    @flow(
        name=node.stage.name,
        description=node.stage.summary,
        flow_run_name=called,
        validate_parameters=False,
        persist_result=False,
    )
    def stage_flow(stage: str, version: str, parameters: dict[str, object]) -> None:
        with waiting_for_server():
            build_it()

    def build_it() -> None:
        begun.set()
        listener: Listener = Listeners([StagePage(run), page, *([console] if console else [])])
        listener.started(step)
        started = time.monotonic()
        order = Order(node.stage, node.name, version, node.parameters, inputs, step.pins)

        def progress(done: float, total: float, unit: str) -> None:
            listener.progressed(step, done, total, unit)

        try:
            with pulse.of(str(flow_run.get_id()), called, node.stage.name):
                artifact = build(
                    order,
                    store,
                    engine,
                    run=run,
                    cpu_threads=cpu_threads,
                    force=step.forced,
                    access=access,
                    progress=progress,
                    measured=lambda values: listener.measured(step, values),
                    on_wait=lambda holder: listener.waiting(step, holder),
                )
                built.append(artifact)
        except BaseException as error:
            if ENDING.is_set():  # it broke off because the process ends: that is no failure
                threading.Event().wait()
            listener.failed(step, error)
            raise
        if not keep_latest:
            store.set_reference(recipe, built[0], LATEST, run)
        listener.finished(step, built[0], time.monotonic() - started)

    built: list[Artifact] = []
    begun = threading.Event()
    parameters = node.parameters.model_dump(mode="json")

    def begin() -> None:
        # Prefect's own heartbeat is a thread that a flow run waits for at its end, up to a second.
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), tags(node.stage.name):
            stage_flow(stage=node.id, version=version, parameters=parameters)

    begin_when_answered(begin, begun)
    return built[0]
