"""The recipe's choice of engine and its size. Never part of a version."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal, Self

import pydantic

from infra.quantities import Bytes

_ADDRESS = re.compile(
    r"auto|none|(?:ray://)?[^\s/:@]+:[0-9]{1,5}|(?:ray://)?\[[0-9A-Fa-f:]+\]:[0-9]{1,5}"
)
_LAST_PORT = 65_535


def is_address(text: str) -> bool:
    """Whether a text is `auto`, `none`, `host:port` or `ray://host:port`."""
    port = text.rpartition(":")[2]
    return bool(_ADDRESS.fullmatch(text)) and (not port.isdigit() or 0 < int(port) <= _LAST_PORT)


class Resources(pydantic.BaseModel):
    """What one worker of a stage takes of its node. Ray places workers by these figures; it holds
    none of them to it.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    cpus: Annotated[float, pydantic.Field(gt=0, le=1024)] = 1
    memory: Bytes | None = None
    custom: dict[str, Annotated[float, pydantic.Field(gt=0)]] = pydantic.Field(
        default_factory=dict, description="resources that `ray start --resources` names"
    )

    def amounts(self) -> dict[str, float]:
        """Amounts by Ray's names."""
        memory = {"memory": float(self.memory)} if self.memory else {}
        return {"CPU": self.cpus, **memory, **self.custom}

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.amounts().items())))

    def __str__(self) -> str:
        return in_words(self.amounts())


def in_words(amounts: dict[str, float]) -> str:
    """Amounts of Ray's resources: 2 CPUs, 4.0 GB of memory, 1 big_disk."""
    words = []
    for name, amount in amounts.items():
        if name == "memory":
            words.append(f"{amount / 1e9:.1f} GB of memory")
        else:
            unit = {"CPU": "CPU" if amount == 1 else "CPUs"}.get(name, name)
            words.append(f"{amount:g} {unit}")
    return ", ".join(words) or "nothing"


class EngineConfig(pydantic.BaseModel):
    """The recipe's `engine` section."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    kind: Literal["inline", "processes", "ray"] = "processes"
    workers: Literal["auto"] | Annotated[int, pydantic.Field(ge=1, le=1024)] = "auto"
    retries: Annotated[int, pydantic.Field(ge=0, le=10)] = 1
    """How often a shard is tried again after its worker died or overran its deadline. An exception
    is never retried.
    """

    cpu_threads: Literal["auto"] | Annotated[int, pydantic.Field(ge=1, le=1024)] = "auto"
    """Threads of one training or evaluation process. Training is bitwise reproducible only for the
    same number.
    """

    address: str = "none"
    """Of `ray`: `none` starts a cluster on this machine that ends with the run; `auto` is the one
    that RAY_ADDRESS names or that runs on this machine; else `host:port` of the head, from one of
    the cluster's own machines, or `ray://host:port` of its client server, from any.
    """

    resources: dict[str, Resources] = pydantic.Field(default_factory=dict)
    """Of `ray`: stage -> what one of its workers takes; one CPU where it is not named."""

    timeout_s: Annotated[float, pydantic.Field(gt=0, le=86_400)] = 60
    """Of `ray`: how long a cluster has to answer, and to place a stage's first worker."""

    @pydantic.field_validator("address")
    @classmethod
    def _is_an_address(cls, address: str) -> str:
        if not is_address(address):
            raise ValueError(
                f"{address!r} is no address of a Ray cluster; write none, auto, host:port or "
                "ray://host:port"
            )
        return address

    @pydantic.model_validator(mode="after")
    def _of_ray(self) -> Self:
        stated = {"address", "resources", "timeout_s"} & self.model_fields_set
        if self.kind != "ray" and stated:
            raise ValueError(
                f"engine.{min(stated)} is for engine.kind: ray, and the kind is {self.kind}; set "
                "the kind, or leave it out"
            )
        return self

    def resources_of(self, stage: str) -> Resources:
        """What one worker of a stage takes."""
        return self.resources.get(stage, Resources())

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
