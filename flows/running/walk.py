"""Walks a plan: starts every step whose inputs exist, several at once, and stops at the first
failure.
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import graphlib
import threading
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any

from flows.planning.plan import Plan, Step
from infra.stage import StageError
from infra.store import Artifact

Build = Callable[[Step, Mapping[str, tuple[Artifact, ...]]], Artifact]
Settle = Callable[[Step, Mapping[str, Artifact]], Step]
"""`flows.planning.plan.settled` in a store."""


class StepFailed(Exception):
    """A step failed; the cause is chained. Steps that were running then have finished."""

    def __init__(self, step: Step, cause: BaseException) -> None:
        super().__init__(f"{step.id} failed: {cause}")
        self.step = step
        self.cause = cause
        self.result: dict[str, Any] | None = None
        """What `puna run --json` prints for the failed run."""
        self.store = ""
        """URL of the run's store."""


def inputs_of(step: Step, artifacts: Mapping[str, Artifact]) -> dict[str, tuple[Artifact, ...]]:
    """A step's inputs by role: artifacts built so far, and those of other recipes."""
    return {role: of_role(step, role, artifacts) for role in step.node.inputs}


def of_role(step: Step, role: str, artifacts: Mapping[str, Artifact]) -> tuple[Artifact, ...]:
    """A step's inputs of one role, in the plan's order."""
    built = (artifacts[source] for source in step.node.inputs[role] if isinstance(source, str))
    return tuple(built) + step.external.get(role, ())


def refusal(
    step: Step, artifacts: Mapping[str, Artifact], checked: set[tuple[str, str]]
) -> StepFailed | None:
    """What a step's roles refuse of the artifacts that exist by now (`Role.check`), each role once:
    `checked` holds (step id, role) of those that were looked at.
    """
    for name, sources in step.node.inputs.items():
        role = step.node.stage.role(name)
        there = all(source in artifacts for source in sources if isinstance(source, str))
        if not role.check or (step.id, name) in checked or not there:
            continue
        checked.add((step.id, name))
        try:
            role.check_artifacts(step.node.name, of_role(step, name, artifacts))
        except StageError as error:
            return StepFailed(step, error)
    return None


def walk(
    plan: Plan,
    build: Build,
    built: dict[str, Artifact],
    *,
    settle: Settle,
    side_by_side: int,
    exclusive_at_once: int = 1,
) -> None:
    """Build every step of the plan that must run, and put it into `built` (step id -> artifact).
    A step is settled as soon as its inputs exist, and may then be a hit, which `build` gets too.

    At most `side_by_side` steps run at once, among them at most `exclusive_at_once` exclusive ones
    (training, evaluation). Steps that are ready start in plan order. What a later step's roles
    refuse (`Role.check`) is a failure as soon as it exists. After a failure no step starts, and
    `StepFailed` is raised when the running ones have finished. An interrupt is raised
    at once although steps are running: the process is about to end, and finished shards are kept.
    """
    hits = {
        id: step.artifact
        for id, step in plan.steps.items()
        if step.state == "hit" and step.artifact
    }
    artifacts = ChainMap(built, hits)
    to_run = {step.id: step for step in plan.to_run()}
    sorter = graphlib.TopologicalSorter(
        {id: [up for up in step.node.upstream() if up in to_run] for id, step in to_run.items()}
    )
    sorter.prepare()
    ready: list[str] = []
    place = {id: number for number, id in enumerate(to_run)}
    exclusive = threading.BoundedSemaphore(exclusive_at_once)

    def build_step(step: Step) -> Artifact:
        inputs = inputs_of(step, artifacts)
        step = settle(step, artifacts)
        if step.state == "hit" or not step.node.stage.exclusive:
            return build(step, inputs)
        with exclusive:
            return build(step, inputs)

    failure: StepFailed | None = None
    checked: set[tuple[str, str]] = set()
    running: dict[concurrent.futures.Future[Artifact], Step] = {}
    while True:
        if failure is None:
            refused = (refusal(step, artifacts, checked) for step in to_run.values())
            failure = next(filter(None, refused), None)
        if failure is None:
            ready = sorted([*ready, *sorter.get_ready()], key=place.__getitem__)
            while ready and len(running) < max(1, side_by_side):
                step = to_run[ready.pop(0)]
                running[_start(build_step, step)] = step
        if not running:
            break
        done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
        for future in done:
            step = running.pop(future)
            error = future.exception()
            if error is None:
                built[step.id] = future.result()
                sorter.done(step.id)
            elif failure is None:
                failure = StepFailed(step, error)
    if failure is not None:
        raise failure from failure.cause


def _start(
    build_step: Callable[[Step], Artifact], step: Step
) -> concurrent.futures.Future[Artifact]:
    """Build a step in a thread that does not keep an interrupted process alive, as an executor's
    threads do.
    """
    future: concurrent.futures.Future[Artifact] = concurrent.futures.Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            artifact = context.run(build_step, step)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(artifact)

    threading.Thread(target=run, name=f"step-{step.id}", daemon=True).start()
    return future
