"""Gives jobs to workers of a cluster, one at a time to each, and replaces workers that are lost.

One thread owns everything here; others put events into its queue. Ray keeps nothing in flight but
what runs, so a shard's deadline counts from its start and a lost worker loses one shard.

A worker is an actor that lives as long as the run, and keeps what it loaded. Stages that run at
once and ask for workers of equal size share them; a worker that idles while jobs of another size
wait without one is ended, and makes room.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import math
import pickle
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.engine.base import ShardFailed
from infra.engine.config import EngineConfig, Resources, in_words
from infra.engine.launch import BOOTSTRAP
from infra.engine.ray_cluster.actor import Worker
from infra.engine.ray_cluster.connection import ClusterUnusable, Connection
from infra.engine.ray_cluster.nodes import Probe, difference, fingerprint
from infra.engine.ray_cluster.work import result_of
from infra.stage import StageError

_POLL_S = 1.0
_HEAD_POLL_S = 5.0
_ROOM_S = 5.0
"""How long an answer on room holds: nodes join and leave."""

_STARTS = 3
"""Workers in a row that may die while they start."""

_END_S = 15.0
_CHECK_S = 120.0
"""How long a node may take to import what a worker needs."""


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
class _Worker:
    actor: Any
    size: Resources
    stage: str
    asked: float
    ready: bool = False
    node: str = ""
    job: Job | None = None
    deadline: float = math.inf


class HeadLost(ClusterUnusable):
    """The cluster's head is gone."""


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
        self._probe = probe
        self._environment = environment
        self._path = path
        self.connection = Connection(config, config.worker_count())
        self._ray: Any = None
        self._actor: Any = None
        self._events: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._connected = threading.Event()
        self._lock = threading.Lock()
        self._broken: BaseException | None = None
        self._numbers = itertools.count()
        self._unsettled: set[Job] = set()
        self._waiting: dict[Resources, deque[Job]] = {}
        self._workers: list[_Worker] = []
        self._checked: set[str] = set()
        self._failed_starts: dict[Resources, int] = {}
        self._room: dict[Resources, tuple[float, int]] = {}
        self._known_nodes: list[dict[str, Any]] = []
        self._nodes_asked = -math.inf
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="ray-pool")
        self._thread.start()

    # Called from any thread

    def submit(
        self, function: bytes, item: Any, stage: str, size: Resources, timeout_s: float | None
    ) -> concurrent.futures.Future[Any]:
        """The result of a pickled function to come. `item` is pickled when a worker takes it."""
        job = Job(function, item, f"{item!s:.200}", stage, size, timeout_s, next(self._numbers))
        with self._lock:
            if self._broken is not None:
                job.future.set_exception(self._broken)
            else:
                self._unsettled.add(job)
                self._events.put(("job", job))
        return job.future

    def connect(self) -> None:
        """Wait until the cluster is joined; raises why it cannot be."""
        self._connected.wait()
        if isinstance(self._broken, Exception):
            raise self._broken

    def room(self, stage: str, size: Resources) -> int:
        """How many workers of a size the cluster has room for. Raises `ClusterUnusable` where it
        cannot be joined, or holds none.
        """
        self.connect()
        until, known = self._room.get(size, (-math.inf, 0))
        if until < time.monotonic():
            asked: concurrent.futures.Future[int] = concurrent.futures.Future()
            with self._lock:
                if self._broken is not None:
                    raise self._broken
                self._events.put(("room", stage, size, asked))
            known = asked.result()
            self._room[size] = (time.monotonic() + _ROOM_S, known)
        return known

    def close(self) -> None:
        """End all workers and leave the cluster. Futures without a result are cancelled."""
        self._ended.set()
        self._events.put(("end",))
        if not isinstance(self._broken, HeadLost):  # whatever asks a lost head does not return
            self._thread.join(_END_S)
        self.connection.close()

    # Called in the pool's thread

    def _run(self) -> None:
        try:
            self._join()
            self._connected.set()
            threading.Thread(target=self._watch_head, daemon=True, name="ray-head").start()
            while self._handle():
                pass
            ended: BaseException = concurrent.futures.CancelledError()
        except StageError as error:
            ended = error
        except Exception as error:
            ended = error
            if isinstance(error, ConnectionError) or type(error).__module__.startswith("ray."):
                ended = ClusterUnusable(
                    f"the Ray cluster at {self.connection.address} is lost "
                    f"({type(error).__name__}: {str(error)[:300]}); finished shards are kept"
                )
        self._give_up(ended)
        self._connected.set()
        for worker in self._workers:
            self._kill(worker)

    def _give_up(self, error: BaseException) -> None:
        with self._lock:  # from now on nothing is put into the queue
            self._broken = self._broken or error
            error = self._broken
        for job in list(self._unsettled):
            self._settle(job, error=error)
        with contextlib.suppress(queue.Empty):
            while True:
                event = self._events.get_nowait()
                if event[0] == "room":
                    event[3].set_exception(error)

    def _join(self) -> None:
        if self._probe is not None:
            self._probe.place()
        self._ray = self.connection.open()
        from ray import cloudpickle

        import infra.engine.ray_cluster.actor as module

        cloudpickle.register_pickle_by_value(module)
        self._actor = self._ray.remote(Worker)
        if not self.connection.local:
            self._check_nodes()

    def _check_nodes(self) -> None:
        """Refuse a cluster with a node that would write other bytes or not see the store."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked = []
        for node in self._nodes():
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            actor = self._new_actor(scheduling_strategy=here, num_cpus=0)
            asked.append((actor, self._introduced(actor)))
        give_up = time.monotonic() + max(self._config.timeout_s, _CHECK_S)
        for actor, reference in asked:
            try:
                known = self._ray.get(reference, timeout=max(give_up - time.monotonic(), 1))
            except self._ray.exceptions.RayError as error:
                raise ClusterUnusable(_no_start(error, self.connection.address)) from None
            self._check(known)
            self._ray.kill(actor)

    def _nodes(self) -> list[dict[str, Any]]:
        """The nodes that take work, as Ray knew them a moment ago."""
        if time.monotonic() - self._nodes_asked > _POLL_S:
            self._known_nodes = [
                node
                for node in self._ray.nodes()
                if node["Alive"] and node["Resources"].get("CPU", 0) > 0
            ]
            self._nodes_asked = time.monotonic()
        return self._known_nodes

    def _new_actor(self, **options: Any) -> Any:
        local = self.connection.local
        return self._actor.options(max_restarts=0, max_task_retries=0, **options).remote(
            str(BOOTSTRAP),
            dict(self._environment(local)),
            local,
            self._path if local else [],
        )

    def _introduced(self, actor: Any) -> Any:
        return actor.ready.remote(pickle.dumps(self._probe) if self._probe is not None else None)

    def _check(self, known: Mapping[str, Any]) -> None:
        if known["node"] in self._checked:
            return
        if problem := difference(known["host"], known["fingerprint"], fingerprint()):
            raise ClusterUnusable(problem)
        if self._probe is not None:
            self._probe.require(known["node"], known["host"], known["probed"])
        self._checked.add(known["node"])

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
        totals = [node["Resources"] for node in self._nodes()]
        room, most = sum(_fitting(size, total) for total in totals), self._config.workers
        if self.connection.local and not room:
            asked.set_exception(ClusterUnusable(_too_large(stage, size, totals)))
        elif most == "auto":
            asked.set_result(max(room, 1))
        else:
            asked.set_result(min(most, room) if self.connection.local else most)

    def _started(self, worker: _Worker, future: Any) -> None:
        if worker not in self._workers:
            return
        try:
            known = future.result()
        except Exception as error:
            self._workers.remove(worker)
            self._kill(worker)
            failed = self._failed_starts.get(worker.size, 0) + 1
            self._failed_starts[worker.size] = failed
            if failed >= _STARTS:
                raise ClusterUnusable(_no_start(error, self.connection.address)) from None
            return
        self._check(known)
        self._failed_starts.pop(worker.size, None)
        worker.ready, worker.node = True, known["node"]

    def _finished(self, worker: _Worker, job: Job, future: Any) -> None:
        if worker.job is not job:
            return  # ended at its deadline
        worker.job, worker.deadline = None, math.inf
        try:
            returned = future.result()
        except Exception as error:
            self._lose(worker, job, _death(error))
            return
        try:
            self._settle(job, result=result_of(returned))
        except BaseException as error:
            self._settle(job, error=error)

    def _lose(self, worker: _Worker, job: Job, how: str) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
        self._kill(worker)
        job.tries += 1
        if job.tries > self._config.retries:
            self._settle(job, error=ShardFailed.of(job.name, how, job.tries))
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

    def _give(self, worker: _Worker, job: Job) -> None:
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
            if idles and self._could_hold(worker.node, size):
                self._workers.remove(worker)
                self._kill(worker)
                if self._fits(size):
                    return True
        return not self._workers  # the cluster may grow

    def _could_hold(self, id: str, size: Resources) -> bool:
        """Whether a node would hold a worker of a size, were nothing else on it."""
        return any(
            _fitting(size, node["Resources"]) for node in self._nodes() if node["NodeID"] == id
        )

    def _fits(self, size: Resources) -> bool:
        if self._config.workers != "auto":
            if len(self._workers) >= self._config.workers:
                return False
            if not self.connection.local:
                return True  # the cluster may grow: its autoscaler sees workers without a node
        free = {node["NodeID"]: dict(node["Resources"]) for node in self._nodes()}
        for worker in sorted(self._workers, key=lambda worker: not worker.ready):
            # where one that still starts will be is Ray's choice
            could = (id for id, room in free.items() if _fitting(worker.size, room) > 0)
            place = worker.node if worker.node in free else next(could, None)
            for name, amount in worker.size.amounts().items() if place else ():
                free[place][name] = free[place].get(name, 0) - amount
        return any(_fitting(size, room) > 0 for room in free.values())

    def _start(self, size: Resources, stage: str) -> _Worker:
        options: dict[str, Any] = {"num_cpus": size.cpus, "scheduling_strategy": "SPREAD"}
        if size.memory:
            options["memory"] = size.memory
        if size.custom:
            options["resources"] = dict(size.custom)
        actor = self._new_actor(**options)
        worker = _Worker(actor, size, stage, time.monotonic())
        self._workers.append(worker)
        self._when_done(self._introduced(actor), "ready", worker)
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
            if waited > self._patience_s():
                totals = [node["Resources"] for node in self._nodes()]
                if not any(_fitting(size, total) for total in totals):
                    raise ClusterUnusable(_too_large(jobs[0].stage, size, totals))
                raise ClusterUnusable(
                    f"the Ray cluster at {self.connection.address} started no worker for stage "
                    f"{jobs[0].stage} ({size}) within {waited:.0f} s, though a node is large "
                    "enough: others use it. Wait for them, add nodes, or raise engine.timeout_s"
                )

    def _patience_s(self) -> float:
        return (
            max(self._config.timeout_s, _CHECK_S)
            if self.connection.local
            else self._config.timeout_s
        )

    def _watch_head(self) -> None:
        """In a thread of its own: where the head is gone, Ray's calls wait for it, and after a
        minute Ray ends this process without a word.
        """
        while not self._ended.wait(_HEAD_POLL_S):
            if not self.connection.answers():
                self._give_up(
                    HeadLost(
                        f"the head of the Ray cluster at {self.connection.address} does not answer "
                        "any more; finished shards are kept: start the cluster, and run again"
                    )
                )
                return

    def _settle(self, job: Job, *, result: Any = None, error: BaseException | None = None) -> None:
        """Set a job's result, unless it was cancelled."""
        self._unsettled.discard(job)
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            if isinstance(error, concurrent.futures.CancelledError):
                if not job.future.cancel():  # it runs
                    job.future.set_exception(error)
            elif error is not None:
                job.future.set_exception(error)
            else:
                job.future.set_result(result)

    def _kill(self, worker: _Worker) -> None:
        with contextlib.suppress(Exception):
            self._ray.kill(worker.actor)


def _fitting(size: Resources, total: Mapping[str, float]) -> int:
    """How many workers of a size a node holds."""
    return int(min(total.get(name, 0) // amount for name, amount in size.amounts().items()))


def _too_large(stage: str, size: Resources, totals: list[dict[str, float]]) -> str:
    names = size.amounts()
    nodes = [in_words({name: total.get(name, 0) for name in names}) for total in totals]
    held = "; ".join(sorted(set(nodes))[:5]) or "no node"
    return (
        f"a worker of stage {stage} takes {size}, and no node of the Ray cluster has so much (they "
        f"have {held}); lower engine.resources.{stage}, or add a larger node"
    )


def _death(error: Exception) -> str:
    """How a worker died, from what Ray says of it."""
    text = " ".join(str(error).split())
    if "node" in text and ("died" in text or "dead" in text or "unreachable" in text):
        cause = "its node was lost"
    elif "memory" in text.lower():
        cause = "out of memory"
    else:
        cause = "out of memory, a crash in a native library, or its node was lost"
    return f"died ({cause})"


def _no_start(error: Exception, address: str) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (
        f"no worker starts on the Ray cluster at {address} ({(lines or ['no reason'])[-1][:300]}); "
        "install the same release of puna[ray] on every node, for the same Python"
    )
