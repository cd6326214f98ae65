"""The recipe's choice of engine and its size. Never part of a version."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import pydantic


class EngineConfig(pydantic.BaseModel):
    """The recipe's `engine` section."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    kind: Literal["inline", "processes"] = "processes"
    workers: Literal["auto"] | Annotated[int, pydantic.Field(ge=1, le=1024)] = "auto"
    retries: Annotated[int, pydantic.Field(ge=0, le=10)] = 1
    """How often a shard is tried again after its worker died or overran its deadline. An exception
    is never retried.
    """

    cpu_threads: Literal["auto"] | Annotated[int, pydantic.Field(ge=1, le=1024)] = "auto"
    """Threads of one training or evaluation process. Training is bitwise reproducible only for the
    same number.
    """

    def worker_count(self) -> int:
        """`workers`; `auto` means the processors this process may use."""
        return self.workers if isinstance(self.workers, int) else available_processors()

    def thread_count(self) -> int:
        """`cpu_threads`; `auto` means the processors this process may use."""
        return self.cpu_threads if isinstance(self.cpu_threads, int) else available_processors()

    def processes_at_once(self) -> int:
        """How many training and evaluation processes of `cpu_threads` threads run at once; one if
        inline.
        """
        return 1 if self.kind == "inline" else max(1, available_processors() // self.thread_count())


def available_processors() -> int:
    """Processors this process may run on (its affinity mask, not all of the machine's)."""
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    )
