"""Worker processes on one machine. They form a pebble pool, which can kill one worker at its
deadline and replace it.

Workers are forked from a server process (multiprocessing's `forkserver`) that has no threads and
has imported what all stages need (`infra.engine.preload`). Forking the parent instead could
deadlock, as it has threads (Prefect, progress); spawned workers would each import everything again.

The server starts with the engine, or earlier (`infra.engine.warm_up`). It exits once no
process holds its pipe open: this process does, and so do the workers, which end with it.

One pool serves all stages of a run, so that stages that run at once share one number of workers.
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, TypeVar

import pebble

from infra.engine.base import ShardFailed
from infra.engine.launch import BOOTSTRAP, safe_environment
from infra.engine.libraries import import_all
from infra.engine.one_thread import ONE_THREAD
from infra.engine.window import WINDOW_PER_WORKER, in_order
from infra.process import is_alive, process_identity

T = TypeVar("T")

_PARENT_POLL_S = 1.0


def start_server(modules: Sequence[str] = ()) -> multiprocessing.context.ForkServerContext:
    """Start the process that workers are forked from, unless it is already
    running. Does not wait for its imports.

    It also imports `modules`, which must not start threads. Loops that these compile are then
    compiled once and not by every worker.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([BOOTSTRAP.stem, "infra.engine.preload", *modules])
    with _environment(safe_environment()):
        # before ^C is blocked, because starting the tracker unblocks it
        multiprocessing.resource_tracker.ensure_running()
        # The server inherits the mask. ^C is for its parent, and the server ignores it only when
        # its imports are done.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            multiprocessing.forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return context


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables in this process's environment for a while: multiprocessing's processes inherit
    it.
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


@dataclass(frozen=True)
class _Submitted:
    """An item in a pool."""

    pool: pebble.ProcessPool
    future: Any

    def result(self) -> Any:
        """What became of it. Raises `BrokenProcessPool` if the pool broke, also where that forgot
        the item.
        """
        while not concurrent.futures.wait([self.future], timeout=_PARENT_POLL_S).done:
            if not self.pool.active:
                concurrent.futures.wait([self.future], timeout=_PARENT_POLL_S)
                if not self.future.done():
                    raise BrokenProcessPool
        return self.future.result()

    def cancel(self) -> None:
        """Do not begin it."""
        self.future.cancel()


class Processes:
    """The engine that runs shards in a pool of worker processes."""

    def __init__(self, workers: int, retries: int) -> None:
        self.workers = workers
        self._retries = retries
        self._lock = threading.Lock()
        self._pool: pebble.ProcessPool | None = None
        self._context = start_server()

    def _started(self) -> pebble.ProcessPool:
        with self._lock:
            if self._pool is None:
                # the stage needs the libraries in this process too, after its workers are done
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
        submit = functools.partial(self._submit, function, timeout_s)
        return in_order(
            items,
            submit,
            lambda item, submitted: self._result(item, submitted, submit, timeout_s),
            lambda: WINDOW_PER_WORKER * self.workers,
        )

    def _submit(
        self, function: Callable[[Any], T], timeout_s: float | None, item: Any
    ) -> _Submitted:
        """Give an item to the pool, or to a new one where that broke."""
        pool = self._started()
        try:
            return _Submitted(pool, pool.schedule(function, args=(item,), timeout=timeout_s))
        except RuntimeError:
            if pool.active:
                raise
        self._give_up(pool)
        pool = self._started()
        return _Submitted(pool, pool.schedule(function, args=(item,), timeout=timeout_s))

    def _give_up(self, pool: pebble.ProcessPool) -> None:
        """End a pool that broke, as pebble's does where a worker dies that has nothing to do."""
        with self._lock:
            first = self._pool is pool
            self._pool = None if first else self._pool
        if first:  # else another thread has ended it
            pool.stop()
            pool.join()

    def _result(
        self,
        item: Any,
        submitted: _Submitted,
        submit: Callable[[Any], _Submitted],
        timeout_s: float | None,
    ) -> Any:
        """The result of an item, which is submitted again while it has tries left."""
        for tries_left in range(self._retries, -1, -1):
            try:
                return submitted.result()
            except BrokenProcessPool:
                failure = "was lost with others, which died while they had nothing to do"
            except concurrent.futures.TimeoutError as error:
                if not isinstance(error, TimeoutError) or timeout_s is None:
                    raise
                failure = f"overran its deadline of {timeout_s:g} s"
            except pebble.ProcessExpired as error:
                failure = (
                    f"died (exit code {error.exitcode}; out of memory, or a crash in a native "
                    "library)"
                )
            if tries_left:
                submitted = submit(item)
        raise ShardFailed.of(item, failure, self._retries + 1)

    def of_stage(self, stage: str) -> Processes:
        """This engine: all stages share the workers."""
        return self

    def close(self) -> None:
        """See `Engine.close`."""
        with self._lock:
            if self._pool is not None:
                self._pool.stop()
                self._pool.join()
                self._pool = None


def _prepare_worker(parent: dict[str, Any], environment: dict[str, str]) -> None:
    """In a new worker: take the parent's present environment, leave ^C to the parent, and end when
    the parent or the server is gone.
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
