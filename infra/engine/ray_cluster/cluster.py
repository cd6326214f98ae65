"""What the pool's thread asks of a cluster: its nodes, and workers on them."""

from __future__ import annotations

import contextlib
import math
import pickle
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from infra.engine.config import EngineConfig, Resources
from infra.engine.launch import BOOTSTRAP
from infra.engine.ray_cluster.actor import Worker
from infra.engine.ray_cluster.connection import Connection
from infra.engine.ray_cluster.entry import ClusterUnusable
from infra.engine.ray_cluster.jobs import Member
from infra.engine.ray_cluster.nodes import Probe, difference, fingerprint
from infra.engine.ray_cluster.words import no_start

_NODES_S = 1.0
_HEAD_POLL_S = 5.0
_CHECK_S = 120.0
"""How long a node may take to import what a worker needs."""


class HeadLost(ClusterUnusable):
    """The cluster's head is gone."""


class Cluster:
    """See the module docstring, and `Pool` for the arguments."""

    def __init__(
        self,
        config: EngineConfig,
        probe: Probe | None,
        environment: Callable[[bool], Mapping[str, str]],
        path: list[str],
    ) -> None:
        self._config, self._probe = config, probe
        self._environment, self._path = environment, path
        self.connection = Connection(config, config.worker_count())
        self.ray: Any = None
        self._actor: Any = None
        self._checked: set[str] = set()
        self._known_nodes: list[dict[str, Any]] = []
        self._nodes_asked = -math.inf

    @property
    def local(self) -> bool:
        """Whether it is of this machine, and ends with the run."""
        return self.connection.local

    @property
    def address(self) -> str:
        """Of its head."""
        return self.connection.address

    @property
    def patience_s(self) -> float:
        """How long a worker may take to be placed and to start."""
        timeout_s = self._config.timeout_s
        return max(timeout_s, _CHECK_S) if self.local else timeout_s

    def join(self, ended: threading.Event, lost: Callable[[HeadLost], None]) -> None:
        """Connect; `lost` is called where the head goes before the run has `ended`, of another
        thread. Raises `ClusterUnusable`, also for a node that would write other bytes or does not
        see the store.
        """
        if self._probe is not None:
            self._probe.place()
        self.ray = self.connection.open()
        self._watch_head(ended, lost)
        from ray import cloudpickle

        import infra.engine.ray_cluster.actor as module

        cloudpickle.register_pickle_by_value(module)
        self._actor = self.ray.remote(Worker)
        if not self.local:
            self._check_nodes()

    def _check_nodes(self) -> None:
        asked = [(node["NodeID"], self._asked(node["NodeID"])) for node in self.nodes()]
        give_up = time.monotonic() + max(self._config.timeout_s, _CHECK_S)
        for node, first in asked:
            if (known := self._answer(node, first, give_up)) is not None:
                self.check(known)

    def _asked(self, node: str) -> tuple[Any, Any]:
        """A worker on a node, and Ray's reference to who it is."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(node, soft=False)
        actor = self._new_actor(scheduling_strategy=here, num_cpus=0)
        return actor, self.introduced(actor)

    def _answer(
        self, node: str, asked: tuple[Any, Any], give_up: float
    ) -> Mapping[str, Any] | None:
        """Who the worker on a node is; None if the node is lost meanwhile. One that dies is asked
        for again, as workers are lost in a cluster, and then refused.
        """
        for last in (False, True):
            actor, reference = asked
            try:
                known = self.ray.get(reference, timeout=max(give_up - time.monotonic(), 1))
            except self.ray.exceptions.RayError as error:
                time.sleep(_NODES_S)  # Ray may know of a worker's end before its node's
                if all(one["NodeID"] != node for one in self.nodes()):
                    return None
                if last or isinstance(error, self.ray.exceptions.GetTimeoutError):
                    raise ClusterUnusable(no_start(error, self.address)) from None
                asked = self._asked(node)
            else:
                self.ray.kill(actor)
                return dict(known)
        raise AssertionError("a worker is asked for twice at most")

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes that take work, as Ray knew them a moment ago."""
        if time.monotonic() - self._nodes_asked > _NODES_S:
            self._known_nodes = [
                node
                for node in self.ray.nodes()
                if node["Alive"] and node["Resources"].get("CPU", 0) > 0
            ]
            self._nodes_asked = time.monotonic()
        return self._known_nodes

    def totals(self) -> list[Mapping[str, float]]:
        """What each node has, by Ray's names."""
        return [node["Resources"] for node in self.nodes()]

    def start(self, size: Resources, stage: str) -> Member:
        """Ask for a worker."""
        options: dict[str, Any] = {"num_cpus": size.cpus, "scheduling_strategy": "SPREAD"}
        if size.memory:
            options["memory"] = size.memory
        if size.custom:
            options["resources"] = dict(size.custom)
        return Member(self._new_actor(**options), size, stage, time.monotonic())

    def _new_actor(self, **options: Any) -> Any:
        return self._actor.options(max_restarts=0, max_task_retries=0, **options).remote(
            str(BOOTSTRAP),
            dict(self._environment(self.local)),
            self.local,
            self._path if self.local else [],
        )

    def introduced(self, actor: Any) -> Any:
        """Ray's reference to who a worker is, once it is ready."""
        return actor.ready.remote(pickle.dumps(self._probe) if self._probe is not None else None)

    def check(self, known: Mapping[str, Any]) -> None:
        """Refuse a worker of a node that was not looked at before, if that node will not do."""
        if known["node"] in self._checked:
            return
        if problem := difference(known["host"], known["fingerprint"], fingerprint()):
            raise ClusterUnusable(problem)
        if self._probe is not None:
            self._probe.require(known["node"], known["host"], known["probed"])
        self._checked.add(known["node"])

    def _watch_head(self, ended: threading.Event, lost: Callable[[HeadLost], None]) -> None:
        """Look after the head in a thread of its own: where it is gone, Ray's calls wait for it,
        and after a minute Ray ends this process without a word.
        """

        def watch() -> None:
            while not ended.wait(_HEAD_POLL_S):
                if not self.connection.answers():
                    lost(
                        HeadLost(
                            f"the head of the Ray cluster at {self.address} does not answer any "
                            "more; finished shards are kept: start the cluster, and run again"
                        )
                    )
                    return

        threading.Thread(target=watch, daemon=True, name="ray-head").start()

    def kill(self, member: Member) -> None:
        """End a worker."""
        with contextlib.suppress(Exception):
            self.ray.kill(member.actor)
