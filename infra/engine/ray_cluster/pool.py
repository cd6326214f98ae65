"""Gives jobs to workers of a cluster, one at a time to each, and replaces workers that are lost.

One thread owns everything here; others put events into its queue. Ray keeps nothing in flight but
what runs, so a shard's deadline counts from its start and a lost worker loses one shard.

A worker is an actor that lives as long as the run, and keeps what it loaded. Stages that run at
once and ask for workers of equal size share them; a worker that idles while jobs of another size
wait without one is ended, and makes room.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import math
import pickle
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from infra.engine.base import ShardFailed
from infra.engine.config import EngineConfig, Resources
from infra.engine.ray_cluster.cluster import Cluster, HeadLost
from infra.engine.ray_cluster.entry import ClusterUnusable
from infra.engine.ray_cluster.jobs import Job, Member, Unsettled
from infra.engine.ray_cluster.nodes import Probe
from infra.engine.ray_cluster.room import could_hold, fits, fitting
from infra.engine.ray_cluster.words import death, lost_its_node, no_start, not_placed, too_large
from infra.engine.ray_cluster.work import result_of
from infra.stage import StageError

_POLL_S = 1.0
_ROOM_S = 5.0
"""How long an answer on room holds: nodes join and leave."""

_STARTS = 3
"""Workers in a row that may die while they start."""

_END_S = 15.0


class Pool:
    """See the module docstring. It connects at once, in its own thread.

    Args:
        config: the recipe's engine; `workers: auto` is as many as the cluster has room for.
        probe: of the run's store, if any.
        environment: variables of the workers: all of them where the cluster is of this machine,
            else those that are added.
        path: folders that workers import from.
    """

    def __init__(
        self,
        config: EngineConfig,
        probe: Probe | None,
        environment: Callable[[bool], Mapping[str, str]],
        path: list[str],
    ) -> None:
        self._config = config
        self.cluster = Cluster(config, probe, environment, path)
        self._connected = threading.Event()
        self._numbers = itertools.count()
        self._unsettled = Unsettled()
        self._events = self._unsettled.events
        self._waiting: dict[Resources, deque[Job]] = {}
        self._workers: list[Member] = []
        self._failed_starts: dict[Resources, int] = {}
        self._room: dict[Resources, tuple[float, int]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="ray-pool")
        self._thread.start()

    def submit(
        self, function: bytes, item: Any, stage: str, size: Resources, timeout_s: float | None
    ) -> concurrent.futures.Future[Any]:
        """The result of a pickled function to come. `item` is pickled when a worker takes it."""
        job = Job(function, item, f"{item!s:.200}", stage, size, timeout_s, next(self._numbers))
        self._unsettled.add(job)
        return job.future

    def connect(self) -> None:
        """Wait until the cluster is joined; raises why it cannot be."""
        self._connected.wait()
        if isinstance(broken := self._unsettled.broken, Exception):
            raise broken

    def room(self, stage: str, size: Resources) -> int:
        """How many workers of a size the cluster has room for. Raises `ClusterUnusable` where it
        cannot be joined, or holds none.
        """
        self.connect()
        until, known = self._room.get(size, (-math.inf, 0))
        if until < time.monotonic():
            known = self._unsettled.answer("room", stage, size)
            self._room[size] = (time.monotonic() + _ROOM_S, known)
        return known

    def close(self) -> None:
        """End all workers and leave the cluster. Futures without a result are cancelled."""
        self._ended.set()
        self._events.put(("end",))
        # whatever asks a lost head does not return
        if not isinstance(self._unsettled.broken, HeadLost):
            self._thread.join(_END_S)
        self.cluster.connection.close()

    def _run(self) -> None:
        try:
            self.cluster.join(self._ended, self._give_up)
            self._connected.set()
            while self._handle():
                pass
            ended: BaseException = concurrent.futures.CancelledError()
        except StageError as error:
            ended = error
        except Exception as error:
            ended = error
            if isinstance(error, ConnectionError) or type(error).__module__.startswith("ray."):
                ended = ClusterUnusable(
                    f"the Ray cluster at {self.cluster.address} is lost "
                    f"({type(error).__name__}: {str(error)[:300]}); finished shards are kept"
                )
        self._give_up(ended)
        for worker in self._workers:
            self.cluster.kill(worker)

    def _give_up(self, error: BaseException) -> None:
        """Of any thread: this pool's own may wait for a lost head."""
        for event in self._unsettled.give_up(error):
            if event[0] == "room":
                event[3].set_exception(self._unsettled.broken)
        self._connected.set()

    def _handle(self) -> bool:
        """Handle one event, or the passing of time; returns False at the end."""
        try:
            event = self._events.get(timeout=self._wait_s())
        except queue.Empty:
            event = ("time",)
        if event[0] == "end":
            return False
        if event[0] == "job":
            self._waiting.setdefault(event[1].size, deque()).append(event[1])
        elif event[0] == "room":
            self._tell_room(*event[1:])
        elif event[0] == "ready":
            self._started(*event[1:])
        elif event[0] == "done":
            self._finished(*event[1:])
        self._end_overdue()
        self._hand_out()
        self._refuse_unplaced()
        return True

    def _wait_s(self) -> float:
        nearest = min((worker.deadline for worker in self._workers), default=math.inf)
        return max(0.0, min(_POLL_S, nearest - time.monotonic()))

    def _tell_room(
        self, stage: str, size: Resources, asked: concurrent.futures.Future[int]
    ) -> None:
        totals = self.cluster.totals()
        room, most = sum(fitting(size, total) for total in totals), self._config.workers
        if self.cluster.local and not room:
            asked.set_exception(ClusterUnusable(too_large(stage, size, totals)))
        elif most == "auto":
            asked.set_result(max(room, 1))
        else:
            asked.set_result(min(most, room) if self.cluster.local else most)

    def _started(self, worker: Member, future: Any) -> None:
        if worker not in self._workers:
            return
        try:
            known = future.result()
        except Exception as error:
            self._workers.remove(worker)
            self.cluster.kill(worker)
            failed = self._failed_starts.get(worker.size, 0) + (not lost_its_node(error))
            self._failed_starts[worker.size] = failed
            if failed >= _STARTS:
                raise ClusterUnusable(no_start(error, self.cluster.address)) from None
            return
        self.cluster.check(known)
        self._failed_starts.pop(worker.size, None)
        worker.ready, worker.node = True, known["node"]

    def _finished(self, worker: Member, job: Job, future: Any) -> None:
        if worker.job is not job:
            return  # ended at its deadline
        worker.job, worker.deadline = None, math.inf
        try:
            returned = future.result()
        except Exception as error:
            self._lose(worker, job, death(error))
            return
        try:
            self._unsettled.settle(job, result=result_of(returned))
        except BaseException as error:
            self._unsettled.settle(job, error=error)

    def _lose(self, worker: Member, job: Job, how: str) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
        self.cluster.kill(worker)
        job.tries += 1
        if job.tries > self._config.retries:
            self._unsettled.settle(job, error=ShardFailed.of(job.name, how, job.tries))
        else:
            self._waiting.setdefault(job.size, deque()).appendleft(job)

    def _end_overdue(self) -> None:
        for worker in list(self._workers):
            if worker.job is not None and worker.deadline <= time.monotonic():
                job, worker.job = worker.job, None
                self._lose(worker, job, f"overran its deadline of {job.timeout_s:g} s")

    def _hand_out(self) -> None:
        """Give the oldest jobs to idle workers, and start workers for those that find none."""
        for size, jobs in sorted(
            self._waiting.items(), key=lambda entry: entry[1][0].number if entry[1] else math.inf
        ):
            ours = [worker for worker in self._workers if worker.size == size]
            idle = deque(worker for worker in ours if worker.ready and worker.job is None)
            while jobs and jobs[0].future.cancelled():
                self._unsettled.discard(jobs.popleft())
            while jobs and idle:
                self._give(idle.popleft(), jobs.popleft())
            starting = sum(not worker.ready for worker in ours)
            while (
                jobs and starting < len(jobs) and self._make_room(size, bool(ours), jobs[0].number)
            ):
                ours.append(self._start(size, jobs[0].stage))
                starting += 1

    def _give(self, worker: Member, job: Job) -> None:
        if job.tries == 0 and not job.future.set_running_or_notify_cancel():
            self._unsettled.discard(job)
            return
        worker.job = job
        if job.timeout_s is not None:
            worker.deadline = time.monotonic() + job.timeout_s
        reference = worker.actor.run.remote(job.function, pickle.dumps(job.item))
        self._when_done(reference, "done", worker, job)

    def _make_room(self, size: Resources, has_some: bool, number: int) -> bool:
        """Whether another worker may be started, perhaps in the place of an idle one of another
        size for which no older job than `number` waits.
        """
        if self._fits(size):
            return True
        if has_some:
            return False
        for worker in list(self._workers):
            theirs = self._waiting.get(worker.size)
            oldest = theirs[0].number if theirs else math.inf
            idles = worker.ready and worker.job is None and oldest > number
            if idles and could_hold(self.cluster.nodes(), worker.node, size):
                self._workers.remove(worker)
                self.cluster.kill(worker)
                if self._fits(size):
                    return True
        return not self._workers  # the cluster may grow

    def _fits(self, size: Resources) -> bool:
        if self._config.workers != "auto":
            if len(self._workers) >= self._config.workers:
                return False
            if not self.cluster.local:
                return True  # the cluster may grow: its autoscaler sees workers without a node
        return fits(self.cluster.nodes(), self._workers, size)

    def _start(self, size: Resources, stage: str) -> Member:
        worker = self.cluster.start(size, stage)
        self._workers.append(worker)
        self._when_done(self.cluster.introduced(worker.actor), "ready", worker)
        return worker

    def _when_done(self, reference: Any, event: str, *about: Any) -> None:
        future = reference.future()
        future.add_done_callback(lambda done: self._events.put((event, *about, done)))

    def _refuse_unplaced(self) -> None:
        """Refuse a size of which no worker has been placed for the whole time that one may take."""
        for size, jobs in self._waiting.items():
            ours = [worker for worker in self._workers if worker.size == size]
            if not jobs or not ours or any(worker.ready for worker in ours):
                continue
            waited = time.monotonic() - min(worker.asked for worker in ours)
            if waited > self.cluster.patience_s:
                totals = self.cluster.totals()
                if not any(fitting(size, total) for total in totals):
                    raise ClusterUnusable(too_large(jobs[0].stage, size, totals))
                raise ClusterUnusable(not_placed(self.cluster.address, jobs[0].stage, size, waited))
