"""Map a function over shards, in order and with deadlines: here or in worker processes."""

from infra.engine.base import Engine, ShardFailed
from infra.engine.config import EngineConfig
from infra.engine.start import start, warm_up

__all__ = ["Engine", "EngineConfig", "ShardFailed", "start", "warm_up"]
