"""Several ranks on this machine, forked from a process that has imported torch (seconds each)."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh

from tasks.training.distributed.ranks import Ranks, join
from tasks.training.recipe.devices import Devices


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _begin(rank: int, world_size: int, port: int, work: Callable[..., None], *args: Any) -> None:
    _set_place(rank, world_size, port)
    try:
        ranks = join(Devices())
        work(ranks, *args)
        ranks.leave()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _begin_process(
    rank: int, world_size: int, port: int, work: Callable[..., None], *args: Any
) -> None:
    _set_place(rank, world_size, port)
    try:
        work(*args)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _set_place(rank: int, world_size: int, port: int) -> None:
    """As torchrun does."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def start(world_size: int, work: Callable[..., None], *args: Any) -> list[BaseProcess]:
    """Processes that call `work(ranks, *args)`, one a rank."""
    return _start(_begin, world_size, work, *args)


def start_processes(world_size: int, work: Callable[..., None], *args: Any) -> list[BaseProcess]:
    """Processes that call `work(*args)`, which joins the ranks itself."""
    return _start(_begin_process, world_size, work, *args)


def _start(
    begin: Callable[..., None], world_size: int, work: Callable[..., None], *args: Any
) -> list[BaseProcess]:
    port, context = free_port(), multiprocessing.get_context("fork")
    processes: list[BaseProcess] = [
        context.Process(target=begin, args=(rank, world_size, port, work, *args))
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    return processes


def ended(processes: list[BaseProcess], timeout_s: float = 240) -> list[int | None]:
    """Exit statuses; None for one that had to be killed because it did not end."""
    for process in processes:
        process.join(timeout_s)
    statuses = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    return statuses


def run(world_size: int, work: Callable[..., None], *args: Any, timeout_s: float = 240) -> None:
    """Run `work` on every rank, and require that it succeeds on all."""
    statuses = ended(start(world_size, work, *args), timeout_s)
    assert statuses == [0] * world_size, f"exit statuses (None: not within {timeout_s:g} s)"


def with_mesh(ranks: Ranks, devices: Devices) -> Ranks:
    """The same ranks, sharing models as `devices` says."""
    if ranks.mesh is None:
        return ranks
    shape = devices.mesh_shape(ranks.world_size, ranks.world_size)
    return replace(
        ranks, mesh=init_device_mesh("cpu", shape, mesh_dim_names=("replicas", "shards"))
    )
