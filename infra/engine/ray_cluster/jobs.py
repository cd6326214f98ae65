"""Calls of functions that workers are to make, and workers of the cluster."""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import queue
import threading
from dataclasses import dataclass, field
from typing import Any

from infra.engine.config import Resources

_LOOK_S = 0.5
"""How often who waits for an answer looks whether there will be one."""


@dataclass(eq=False)
class Job:
    """One call of a function. `name` is what errors call it."""

    function: bytes
    item: Any
    name: str
    stage: str
    size: Resources
    timeout_s: float | None
    number: int
    future: concurrent.futures.Future[Any] = field(default_factory=concurrent.futures.Future)
    tries: int = 0


@dataclass(eq=False)
class Member:
    """A worker of the cluster, from the time that it is asked for."""

    actor: Any
    size: Resources
    stage: str
    asked: float
    ready: bool = False
    node: str = ""
    job: Job | None = None
    deadline: float = math.inf


class Unsettled:
    """Jobs without a result, and the queue of events that the pool's thread handles. Of any thread;
    once it gives up, nothing more is taken.
    """

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.broken: BaseException | None = None
        """Why it has given up."""
        self._jobs: set[Job] = set()
        self._lock = threading.Lock()

    def add(self, job: Job) -> None:
        """Take a job, or say at once why it is not done."""
        with self._lock:
            if self.broken is not None:
                job.future.set_exception(self.broken)
            else:
                self._jobs.add(job)
                self.events.put(("job", job))

    def answer(self, *question: Any) -> int:
        """What the pool's thread answers to an event, or why it does not: it may wait for a lost
        head.
        """
        asked: concurrent.futures.Future[int] = concurrent.futures.Future()
        with self._lock:
            if self.broken is not None:
                raise self.broken
            self.events.put((*question, asked))
        while True:
            with contextlib.suppress(TimeoutError):
                return asked.result(_LOOK_S)
            if self.broken is not None and not asked.done():
                raise self.broken

    def discard(self, job: Job) -> None:
        """Forget a job that was cancelled."""
        self._jobs.discard(job)

    def settle(self, job: Job, *, result: Any = None, error: BaseException | None = None) -> None:
        """Set a job's result, unless it was cancelled."""
        self._jobs.discard(job)
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            if isinstance(error, concurrent.futures.CancelledError):
                if not job.future.cancel():  # it runs
                    job.future.set_exception(error)
            elif error is not None:
                job.future.set_exception(error)
            else:
                job.future.set_result(result)

    def give_up(self, error: BaseException) -> list[tuple[Any, ...]]:
        """Settle all jobs with an error, of several the first; returns what nobody handles now."""
        with self._lock:
            self.broken = self.broken or error
        for job in list(self._jobs):
            self.settle(job, error=self.broken)
        left = []
        with contextlib.suppress(queue.Empty):
            while True:
                left.append(self.events.get_nowait())
        return left
