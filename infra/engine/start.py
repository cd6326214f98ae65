"""From the recipe's `engine` section to a running engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from infra.engine.base import Engine, Inline
from infra.engine.config import EngineConfig

if TYPE_CHECKING:  # a training node has no fsspec
    from infra.store.directory import Directory


def warm_up(config: EngineConfig, modules: Sequence[str] = ()) -> None:
    """Start in the background what `start` will need, and return at once.

    Workers will have imported what every stage needs, then `modules` in this order.
    """
    if config.kind == "processes":
        from infra.engine.processes import start_server

        start_server(modules)


@contextlib.contextmanager
def start(config: EngineConfig, store: Directory | None = None) -> Iterator[Engine]:
    """Yield the engine, and end its workers afterwards. They start with the first `map`.

    `store` is the run's, which the nodes of a cluster have to reach. Raises `StageError` for a
    cluster that cannot be used.
    """
    engine: Engine
    if config.kind == "inline":
        engine = Inline()
    elif config.kind == "ray":
        from infra.engine.ray_cluster.engine import Ray

        engine = Ray(config, store)
    else:
        from infra.engine.processes import Processes  # pebble is not needed for inline

        engine = Processes(config.worker_count(), config.retries)
    try:
        yield engine
    finally:
        engine.close()
