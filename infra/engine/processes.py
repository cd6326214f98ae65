"""Worker processes on one machine, on pebble's pool, which can kill one worker at its deadline and
replace it.

Workers are forked from a server process without threads (multiprocessing's `forkserver`), which has
imported what all stages need (`infra.engine.preload`): the parent holds threads (Prefect,
progress), and forking a process with threads can deadlock, while spawned workers import everything
anew. The server starts with the engine, or before it (`infra.engine.warm_up`), and ends with the
last process that holds its pipe: this one and the workers, which watch this one. One pool serves
all stages of a run, so that stages side by side share one worker budget.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import gc
import multiprocessing
import multiprocessing.context
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pebble

from infra.engine.base import ShardFailed
from infra.engine.launch import BOOTSTRAP, safe_environment
from infra.engine.libraries import import_all
from infra.process import is_alive, process_identity

T = TypeVar("T")

WINDOW_PER_WORKER = 2
"""Items in flight per worker: enough to keep every worker busy, few enough to keep memory bounded.
"""

_PARENT_POLL_S = 1.0

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
ONE_THREAD["TOKENIZERS_PARALLELISM"] = "false"
"""Environment of workers: their budget counts processes."""


def start_server(modules: Sequence[str] = ()) -> multiprocessing.context.ForkServerContext:
    """Start the process that workers are forked from, where it does not run yet; it prepares itself
    in its own time.

    It imports `modules` too, which must start no thread; loops that they compile are compiled once,
    not by each worker.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([BOOTSTRAP.stem, "infra.engine.preload", *modules])
    with _environment(safe_environment()):
        multiprocessing.resource_tracker.ensure_running()  # now, as it unblocks signals
        held = signal.pthread_sigmask(
            signal.SIG_BLOCK, {signal.SIGINT}
        )  # the server inherits it: ^C is for its parent,
        try:  # and the server ignores it only when its imports are done
            multiprocessing.forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
    return context


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The variables for processes that start meanwhile: multiprocessing's take this process's
    environment.
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Processes:
    """See the module docstring."""

    def __init__(self, workers: int, retries: int) -> None:
        self.workers = workers
        self._retries = retries
        self._lock = threading.Lock()
        self._pool: pebble.ProcessPool | None = None
        self._context = start_server()

    def _started(self) -> pebble.ProcessPool:
        with self._lock:
            if self._pool is None:
                # The stage that waits here needs the libraries too, once workers have done its
                # shards.
                threading.Thread(target=import_all, daemon=True, name="libraries").start()
                self._pool = pebble.ProcessPool(
                    max_workers=self.workers,
                    context=self._context,
                    initializer=_prepare_worker,
                    initargs=(process_identity(), dict(os.environ)),
                )
            return self._pool

    def map(
        self, function: Callable[[Any], T], items: Iterable[Any], *, timeout_s: float | None = None
    ) -> Iterator[T]:
        """See `Engine.map`."""
        pool = self._started()
        submit = functools.partial(pool.schedule, function, timeout=timeout_s)
        pending: deque[tuple[Any, Any]] = deque()
        window = WINDOW_PER_WORKER * self.workers
        source = iter(items)
        try:
            while True:
                while len(pending) < window and (item := next(source, _END)) is not _END:
                    pending.append((item, submit(args=(item,))))
                if not pending:
                    return
                item, future = pending.popleft()
                yield self._result(item, future, submit, timeout_s)
        finally:
            for _, future in pending:
                future.cancel()

    def _result(
        self, item: Any, future: Any, submit: Callable[..., Any], timeout_s: float | None
    ) -> Any:
        for tries_left in range(self._retries, -1, -1):
            try:
                return future.result()
            except concurrent.futures.TimeoutError as error:
                if not isinstance(error, TimeoutError) or timeout_s is None:
                    raise
                why = f"overran its deadline of {timeout_s:g} s"
            except pebble.ProcessExpired as error:
                why = (
                    f"died (exit code {error.exitcode}; out of memory, or a crash in a native "
                    "library)"
                )
            if tries_left:
                future = submit(args=(item,))
        raise ShardFailed(
            f"the worker of shard {item!s:.200} {why}, {self._retries + 1} time(s). No document "
            "was dropped. Raise the deadline or engine.retries, or remove the input named above "
            "from the source, and run again"
        )

    def close(self) -> None:
        """See `Engine.close`."""
        with self._lock:
            if self._pool is not None:
                self._pool.stop()
                self._pool.join()
                self._pool = None


_END = object()


def _prepare_worker(parent: dict[str, Any], environment: dict[str, str]) -> None:
    """The parent's environment as it is now; the parent handles ^C; no worker outlives parent or
    server.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    gc.enable()
    os.environ.clear()
    os.environ.update(environment | ONE_THREAD)
    server = os.getppid()

    def watch() -> None:
        while is_alive(parent) and os.getppid() == server:
            time.sleep(_PARENT_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()
