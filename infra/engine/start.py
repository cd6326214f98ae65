"""From the recipe's `engine` section to a started engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from infra.engine.base import Engine, Inline
from infra.engine.config import EngineConfig


def warm_up(config: EngineConfig, modules: Sequence[str] = ()) -> None:
    """Begin what `start` will need in processes of its own, beside whatever the caller does
    meanwhile.

    Workers will have imported `modules`, in this order, after what every stage needs.
    """
    if config.kind == "processes":
        from infra.engine.processes import start_server

        start_server(modules)


@contextlib.contextmanager
def start(config: EngineConfig) -> Iterator[Engine]:
    """Yield the engine and end its workers afterwards. Workers start with the first map, not
    here.
    """
    engine: Engine
    if config.kind == "inline":
        engine = Inline()
    else:
        from infra.engine.processes import Processes  # pebble is not needed for inline

        engine = Processes(config.worker_count(), config.retries)
    try:
        yield engine
    finally:
        engine.close()
