"""The ranks of a training run: which one this process is, its device, and what it asks the others.

torchrun (or a launcher that sets the same variables: RANK, WORLD_SIZE, LOCAL_RANK,
LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT) starts one process a rank; without these variables a
process is the only one. Everything that concerns several ranks is asked here, so that a single
process runs the same code without a process group.

What one rank alone sees (an unreadable file, a full disk, a request to stop) must become known to
all before their next collective, or the others would wait for it. So work of which a rank may fail
alone runs in `together`, and decisions are taken by `any`. A rank that fails elsewhere leaves its
reason in the store (`report_failure`), where the others find it (`failure`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from tasks.training.errors import RankFailed
from tasks.training.recipe.devices import DeviceError, Devices
from tasks.training.recipe.exclusions import idle_ranks

TIMEOUT = timedelta(minutes=30)
"""A collective that takes longer ends the run. A rank that dies is noticed at once (its connections
close, or the launcher sees it); this is for one that hangs, and longer than any other's work alone.
"""

FAILURE = "puna/failure"
"""Key of the store under which the first rank that fails leaves its reason."""

CPU = torch.device("cpu")

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    local_rank: int = 0
    """Number among the ranks of this machine."""
    world_size: int = 1
    device: torch.device = CPU
    mesh: DeviceMesh | None = None
    """Ranks as ("replicas", "shards"); None for a single one."""
    token: str = ""
    """The same on all ranks of a run, different in every run."""
    store: Any = None
    """Key-value store that all ranks reach; None for a single one."""

    @property
    def is_main(self) -> bool:
        """Whether this rank writes metrics, progress and output."""
        return self.rank == 0

    @property
    def replicas(self) -> int:
        """Groups of ranks that each hold the whole model."""
        return 1 if self.mesh is None else self.mesh.size(0)

    @property
    def is_first_replica(self) -> bool:
        """Whether this rank's shards are those that are saved."""
        return self.mesh is None or self.mesh.get_local_rank(0) == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all ranks, in place; unchanged in a single process."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag: whether it is set on any rank."""
        votes = self.sum(torch.tensor(flags, dtype=torch.int64))
        return tuple(bool(vote) for vote in votes.tolist())

    def from_main(self, value: _T) -> _T:
        """The main rank's value, on all ranks."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, device=CPU)
        return values[0]

    def together(self, work: Callable[[], _T]) -> _T:
        """The result of `work` on this rank, once it is done on all.

        Where `work` lost its connection to another rank, the others are not asked: they may still
        wait within `work` for what this rank will not send, and notice that it ends.

        Raises:
            Exception: what `work` raised on this rank.
            RankFailed: it raised on another rank only.
        """
        if self.world_size == 1:
            return work()
        reason, raised, result = "", None, None
        try:
            result = work()
        except Exception as error:
            if is_lost_connection(error):
                raise
            reason, raised = str(error) or type(error).__name__, error
        if not self.any(raised is not None)[0]:
            return result  # type: ignore[return-value]
        reasons: list[Any] = [None] * self.world_size
        dist.all_gather_object(reasons, reason)
        if raised is not None:
            raise raised
        failed = next(rank for rank, text in enumerate(reasons) if text)
        raise RankFailed(f"rank {failed} of {self.world_size} failed: {reasons[failed]}")

    def send_to_main(self, values: Tensor) -> None:
        """Send a CPU tensor to the main rank, which calls `receive`."""
        dist.send(values, dst=0)

    def receive(self, values: Tensor, rank: int) -> None:
        """Fill a CPU tensor with what `rank` sends."""
        dist.recv(values, src=rank)

    def report_failure(self, reason: str) -> None:
        """Leave the reason why this rank ends where the others look for it."""
        if self.store is not None:
            with contextlib.suppress(dist.DistError):  # the rank that holds it is gone
                self.store.compare_set(FAILURE, "", json.dumps([self.rank, reason]))

    def failure(self, wait_s: float = 0.0, ends: Callable[[], bool] = lambda: False) -> str:
        """Why another rank failed, or that the holder of the store is gone; "" where none has said
        so within `wait_s` seconds, or by the time that `ends` is true.
        """
        if self.store is None:
            return ""
        give_up = time.monotonic() + wait_s
        try:
            while not self.store.check([FAILURE]):
                if time.monotonic() >= give_up or ends():
                    return ""
                time.sleep(0.1)
            rank, reason = json.loads(self.store.get(FAILURE))
        except dist.DistError:
            return "the process at which the ranks meet (rank 0, or torchrun) is gone"
        return "" if rank == self.rank else f"rank {rank} of {self.world_size} failed: {reason}"

    def leave(self) -> None:
        """End the process group."""
        if self.world_size > 1:
            dist.destroy_process_group()


_COLLECTIVE = re.compile(r"gloo|NCCL|ProcessGroup|Connection (closed|reset|refused)|Broken pipe")


def is_lost_connection(error: Exception) -> bool:
    """Whether a collective failed because another rank is gone."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and bool(_COLLECTIVE.search(str(error)))
    )


def join(devices: Devices, environment: Mapping[str, str] = os.environ) -> Ranks:
    """This process's place among the ranks that the launcher started; connects to the others.

    Raises:
        DeviceError: another number of ranks than the recipe asks for, or no such device.
    """
    rank, world_size, local_rank, local_size = _place(environment)
    if devices.ranks not in ("auto", world_size):
        raise DeviceError(
            f"devices.ranks is {devices.ranks}, but {_processes(world_size)} started; start "
            f"{devices.ranks} with torchrun (or the launcher's own option), or set devices.ranks: "
            "auto"
        )
    device = choose_device(devices, local_rank)
    if world_size == 1:
        return Ranks(device=device, token=secrets.token_hex(4))
    shape = devices.mesh_shape(world_size, local_size)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    store, _, _ = next(rendezvous("env://", rank, world_size, timeout=TIMEOUT))
    store.set_timeout(TIMEOUT)
    dist.init_process_group(
        backend,
        store=PrefixStore("puna/group", store),
        rank=rank,
        world_size=world_size,
        timeout=TIMEOUT,
        device_id=device if device.type == "cuda" else None,
    )
    token = [secrets.token_hex(4)]
    dist.broadcast_object_list(token, device=CPU)
    mesh = init_device_mesh(device.type, shape, mesh_dim_names=("replicas", "shards"))
    return Ranks(rank, local_rank, world_size, device, mesh, token[0], store)


def _place(environment: Mapping[str, str]) -> tuple[int, int, int, int]:
    """Rank, world size, local rank and local world size by torchrun's variables."""
    numbers = []
    for name, default in (
        ("RANK", "0"),
        ("WORLD_SIZE", "1"),
        ("LOCAL_RANK", "0"),
        ("LOCAL_WORLD_SIZE", environment.get("WORLD_SIZE", "1")),
    ):
        value = environment.get(name, default)
        if not value.isdecimal():
            raise DeviceError(f"{name} is {value!r}, not a number; start ranks with torchrun")
        numbers.append(int(value))
    rank, world_size, local_rank, local_size = numbers
    if not rank < world_size:
        raise DeviceError(
            f"RANK is {rank}, but WORLD_SIZE is {world_size}; start ranks with torchrun, which "
            "sets both"
        )
    lacking = [
        name
        for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        if name not in environment
    ]
    if world_size > 1 and lacking:
        raise DeviceError(
            f"WORLD_SIZE is {world_size}, but {', '.join(lacking)} is not set, so the ranks cannot "
            "find each other; start them with torchrun, or unset WORLD_SIZE to train in one process"
        )
    return rank, world_size, local_rank, local_size


def _processes(number: int) -> str:
    return "1 process was" if number == 1 else f"{number} processes were"


def choose_device(devices: Devices, local_rank: int) -> torch.device:
    """The device of this rank: GPU number `local_rank` where there are GPUs, else the CPU.

    Raises:
        DeviceError: `cuda` without a GPU, or more ranks on this machine than GPUs.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if devices.kind == "cuda" and not gpus:
        built = torch.version.cuda
        raise DeviceError(
            "devices.kind is cuda, but torch sees no GPU ("
            + (
                f"it was built for CUDA {built}; nvidia-smi shows whether the driver does"
                if built
                else f"this torch {torch.__version__} was built without CUDA"
            )
            + "); set devices.kind: auto or cpu, or run on a machine with one"
        )
    if devices.kind == "cpu" or not gpus:
        return torch.device("cpu")
    if local_rank >= gpus:
        raise DeviceError(
            f"this is rank {local_rank} of its machine (from 0), but torch sees {gpus} GPUs; start "
            "one process a GPU, or set devices.kind: cpu"
        )
    # Matrix products are deterministic only with a fixed workspace; read when CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def require_rows(smallest: int, largest: int, world_size: int) -> None:
    """Refuse ranks that would never get a row; warn where some get none in some steps.

    Args:
        smallest: rows of the smallest step of the phase but its last.
        largest: rows of the largest.

    Raises:
        DeviceError: a step has fewer rows than there are ranks, at most.
    """
    if reason := idle_ranks(world_size, largest):
        raise DeviceError(reason)
    if smallest < world_size:
        _LOG.warning(
            "steps of %d rows leave %d of %d ranks without a row: they compute on masked rows",
            smallest,
            world_size - smallest,
            world_size,
        )
