"""Who hears what a run does: the console, the dashboard, tests."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from flows.planning.plan import Plan, Step
from infra.store import Artifact


class Listener:
    """Hears everything, does nothing; override what matters. Called from several threads."""

    def planned(self, plan: Plan) -> None:
        """The plan is made; steps that are hits will not be heard of again."""

    def started(self, step: Step) -> None:
        """A step begins."""

    def progressed(self, step: Step, done: float, total: float, unit: str) -> None:
        """A step did some of its work."""

    def waiting(self, step: Step, holder: dict[str, Any]) -> None:
        """Another living run builds this version; this one waits for it."""

    def finished(self, step: Step, artifact: Artifact, seconds: float) -> None:
        """A step's artifact is committed."""

    def failed(self, step: Step, error: BaseException) -> None:
        """A step failed."""


class Listeners(Listener):
    """Several listeners as one."""

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

    def waiting(self, step: Step, holder: dict[str, Any]) -> None:
        for listener in self._listeners:
            listener.waiting(step, holder)

    def finished(self, step: Step, artifact: Artifact, seconds: float) -> None:
        for listener in self._listeners:
            listener.finished(step, artifact, seconds)

    def failed(self, step: Step, error: BaseException) -> None:
        for listener in self._listeners:
            listener.failed(step, error)


CONSOLE: ContextVar[Listener | None] = ContextVar("console", default=None)
"""The terminal's listener, set by the command line around a flow it calls; a deployment's run has
none.
"""
