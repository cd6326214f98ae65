"""Map a function over shards: in this process or in worker processes, with order-stable results and
deadlines.
"""

from infra.engine.base import Engine, ShardFailed
from infra.engine.config import EngineConfig
from infra.engine.start import start, warm_up

__all__ = ["Engine", "EngineConfig", "ShardFailed", "start", "warm_up"]
