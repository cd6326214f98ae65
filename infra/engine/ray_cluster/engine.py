"""The `map` over a Ray cluster."""

from __future__ import annotations

import concurrent.futures
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from infra.engine.config import EngineConfig, Resources
from infra.engine.one_thread import ONE_THREAD
from infra.engine.ray_cluster.connection import require_installed
from infra.engine.ray_cluster.nodes import Probe
from infra.engine.ray_cluster.pool import Pool
from infra.engine.window import WINDOW_PER_WORKER, in_order
from infra.store.directory import Directory

T = TypeVar("T")

_WAIT_S = 5.0
"""How often the room is asked for while a map waits: nodes may have joined."""

SENT = ("AWS_", "FSSPEC_", "HF_", "PUNA_")
"""Beginnings of names of variables that workers on other machines get from the run: where stores
and hubs are, and with which credentials.
"""


class Ray:
    """The engine that runs shards in workers of a Ray cluster.

    It starts to connect at once, and with an address waits for the cluster and looks at its nodes.

    Args:
        config: the recipe's engine.
        store: of the run, which every node has to reach; None looks at none.

    Raises:
        ClusterUnusable: Ray is not installed, or the cluster cannot be used.
    """

    def __init__(self, config: EngineConfig, store: Directory | None = None) -> None:
        require_installed()
        self._config = config
        self._probe = Probe(store) if store is not None else None
        self._pool = Pool(
            config, self._probe, environment_of_workers, [folder for folder in sys.path if folder]
        )
        if config.address != "none":
            try:
                self._pool.connect()
            except BaseException:
                self.close()
                raise

    @property
    def workers(self) -> int:
        """How many workers of one CPU take work at a time."""
        return self._room("", Resources())

    def _room(self, stage: str, size: Resources) -> int:
        if self._config.address == "none" and size == Resources():
            return self._config.worker_count()  # the cluster's size, known before it is there
        return self._pool.room(stage, size)

    def map(
        self, function: Callable[[Any], T], items: Iterable[Any], *, timeout_s: float | None = None
    ) -> Iterator[T]:
        """See `Engine.map`."""
        return self._map("", Resources(), function, items, timeout_s)

    def _map(
        self,
        stage: str,
        size: Resources,
        function: Callable[[Any], T],
        items: Iterable[Any],
        timeout_s: float | None,
    ) -> Iterator[T]:
        pickled = pickle.dumps(function)
        return in_order(
            items,
            lambda item: self._pool.submit(pickled, item, stage, size, timeout_s),
            lambda _, future: future.result(),
            lambda: WINDOW_PER_WORKER * self._room(stage, size),
            lambda future: bool(concurrent.futures.wait([future], _WAIT_S).done),
        )

    def of_stage(self, stage: str) -> _OfStage:
        """The engine with workers of the size that the recipe gives the stage."""
        return _OfStage(self, stage, self._config.resources_of(stage))

    def close(self) -> None:
        """See `Engine.close`."""
        self._pool.close()
        if self._probe is not None:
            self._probe.remove()


class _OfStage:
    """A stage's view of the engine."""

    def __init__(self, engine: Ray, stage: str, size: Resources) -> None:
        self._engine, self._stage, self._size = engine, stage, size

    @property
    def workers(self) -> int:
        """How many of the stage's workers the cluster has room for, at most `engine.workers`."""
        return self._engine._room(self._stage, self._size)

    def map(
        self, function: Callable[[Any], T], items: Iterable[Any], *, timeout_s: float | None = None
    ) -> Iterator[T]:
        """See `Engine.map`."""
        return self._engine._map(self._stage, self._size, function, items, timeout_s)

    def of_stage(self, stage: str) -> _OfStage:
        """The engine of another stage."""
        return self._engine.of_stage(stage)

    def close(self) -> None:
        """The engine ends its workers."""


def environment_of_workers(local: bool) -> Mapping[str, str]:
    """Variables of workers: this process's where they are on this machine, else those of `SENT`."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if (local and not name.startswith("RAY_")) or name.startswith(SENT)
    }
    return ours | ONE_THREAD
