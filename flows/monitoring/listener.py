"""Listeners are told what a run does: the console, the dashboard, tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from flows.planning.plan import Plan, Step
from infra.store import Artifact


class Listener:
    """Ignores every event; subclasses override what they need. Called from several threads."""

    def planned(self, plan: Plan) -> None:
        """The plan is made. Steps that are hits have no further events."""

    def started(self, step: Step) -> None:
        """A step begins."""

    def progressed(self, step: Step, done: float, total: float, unit: str) -> None:
        """A step has done `done` of `total` units of work."""

    def measured(self, step: Step, values: Mapping[str, float | None]) -> None:
        """A step measured something while it works: training its `loss`, `learning_rate`,
        `tokens_per_s`, `left_s` and the `tokens` trained, after every training step.
        """

    def waiting(self, step: Step, holder: dict[str, Any]) -> None:
        """This run waits for another one that is building the same version; `holder` is that
        process.
        """

    def finished(self, step: Step, artifact: Artifact, seconds: float) -> None:
        """A step's artifact is committed."""

    def found(self, step: Step, artifact: Artifact) -> None:
        """A step that was to run is there already, as its inputs hold what they held before."""

    def failed(self, step: Step, error: BaseException) -> None:
        """A step failed."""


class Listeners(Listener):
    """Passes every event to several listeners."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)

    def planned(self, plan: Plan) -> None:
        for listener in self._listeners:
            listener.planned(plan)

    def started(self, step: Step) -> None:
        for listener in self._listeners:
            listener.started(step)

    def progressed(self, step: Step, done: float, total: float, unit: str) -> None:
        for listener in self._listeners:
            listener.progressed(step, done, total, unit)

    def measured(self, step: Step, values: Mapping[str, float | None]) -> None:
        for listener in self._listeners:
            listener.measured(step, values)

    def waiting(self, step: Step, holder: dict[str, Any]) -> None:
        for listener in self._listeners:
            listener.waiting(step, holder)

    def finished(self, step: Step, artifact: Artifact, seconds: float) -> None:
        for listener in self._listeners:
            listener.finished(step, artifact, seconds)

    def found(self, step: Step, artifact: Artifact) -> None:
        for listener in self._listeners:
            listener.found(step, artifact)

    def failed(self, step: Step, error: BaseException) -> None:
        for listener in self._listeners:
            listener.failed(step, error)


CONSOLE: ContextVar[Listener | None] = ContextVar("console", default=None)
"""The terminal's listener. The command line sets it before it calls a flow; runs of a deployment
have none.
"""
