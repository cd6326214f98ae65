"""Training processes forked from one that has imported torch, which takes seconds each."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from multiprocessing.process import BaseProcess
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch.distributed.device_mesh import init_device_mesh

from tasks.training.distributed.ranks import Ranks, join
from tasks.training.recipe.devices import Devices

MAIN = {"tasks.training": "tasks.training.worker", "tasks.evaluation": "tasks.evaluation.__main__"}
"""Module that a stage starts -> the one with its `main`."""

_FORK = multiprocessing.get_context("fork")


class Worker:
    """`subprocess.Popen` of a training process that is forked: the same pipes, session and end."""

    def __init__(self, words: Sequence[str], *, env: Mapping[str, str], **_: Any) -> None:
        ends = [os.pipe() for _ in range(3)]
        (_, stdin), (stdout, _), (stderr, _) = ends
        theirs = [ends[0][0], ends[1][1], ends[2][1]]
        self._process = _FORK.Process(
            target=_work, args=(words[-2:], dict(env), theirs, [stdin, stdout, stderr])
        )
        self._process.start()
        for end in theirs:
            os.close(end)
        self.stdin, self.stdout, self.stderr = open(stdin, "w"), open(stdout), open(stderr)  # noqa: SIM115
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """How it ended, once it has."""
        self._process.join()
        return self._process.exitcode


def _work(words: Sequence[str], env: dict[str, str], own: list[int], parents: list[int]) -> None:
    module, spec = words
    for end in parents:
        os.close(end)
    for number, end in enumerate(own):
        os.dup2(end, number)
        os.close(end)
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115  (pytest's are its own)
    status = 1
    try:
        status = importlib.import_module(MAIN[module]).main([spec])
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@contextlib.contextmanager
def workers() -> Iterator[None]:
    """The training stage forks its process, where only one rank trains; also where it would be
    forked from a server.
    """
    stand_in = SimpleNamespace(Popen=Worker, PIPE=subprocess.PIPE)
    with (
        mock.patch("infra.engine.group.subprocess", stand_in),
        mock.patch("infra.engine.group.Forked", Worker),
    ):
        yield


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
    os._exit(0)  # Python's own end waits for threads that only the forking process has


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
    port = free_port()
    processes: list[BaseProcess] = [
        _FORK.Process(target=begin, args=(rank, world_size, port, work, *args))
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
