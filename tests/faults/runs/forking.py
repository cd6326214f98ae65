"""Processes that a run of `puna` would start as new interpreters, forked instead from one that has
imported what they need: the server of the worker pool, and the processes of stages.

Both are the real ones from there on: multiprocessing's own fork server, and the stages' own `main`,
in sessions of their own behind the same pipes. What a fork cannot show is left out: that the
interpreter starts.
"""

from __future__ import annotations

import array
import contextlib
import json
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing import connection
from types import SimpleNamespace
from typing import Any

_LIMIT = 1 << 20


def fork_pool_server() -> None:
    """Start multiprocessing's fork server as a fork of this process, which must have no threads.
    `multiprocessing` then takes it for the one that it would have started.
    """
    multiprocessing.resource_tracker.ensure_running()
    server: Any = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]
    listener = socket.socket(socket.AF_UNIX)
    address = connection.arbitrary_address("AF_UNIX")
    listener.bind(address)
    listener.listen()
    alive_r, alive_w = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(alive_w)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            multiprocessing.forkserver.main(listener.detach(), alive_r, [])
        finally:
            os._exit(0)
    listener.close()
    os.close(alive_r)
    server._forkserver_address = address
    server._forkserver_alive_fd = alive_w
    server._forkserver_pid = pid


class Launcher:
    """A fork of this process, without threads, which forks the processes of stages for it: a
    process with threads can deadlock when it forks. It ends with this process.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if not self.pid:
            ours.close()
            try:
                _serve(theirs)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        theirs.close()
        self._socket, self._lock = ours, threading.Lock()

    def ask(self, words: dict[str, Any], descriptors: Sequence[int] = ()) -> Any:
        """One request and its answer."""
        with self._lock:
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
            self._socket.sendmsg([json.dumps(words).encode()], passed if descriptors else [])
            return json.loads(self._socket.recv(_LIMIT))

    def stand_in(self) -> SimpleNamespace:
        """What `infra.engine.group` takes for the module `subprocess`."""
        launcher = self

        class Popen(Launched):
            def __init__(self, words: Sequence[str], *, env: Mapping[str, str], **_: Any) -> None:
                super().__init__(launcher, words, env)

        return SimpleNamespace(Popen=Popen, PIPE=subprocess.PIPE)


class Launched:
    """`subprocess.Popen` of a stage's process: the same pipes, session and end."""

    def __init__(self, launcher: Launcher, words: Sequence[str], env: Mapping[str, str]) -> None:
        (r0, w0), (r1, w1), (r2, w2) = os.pipe(), os.pipe(), os.pipe()
        asked = {"module": words[-2], "spec": words[-1], "env": dict(env)}
        self._launcher, self._ended = launcher, None
        self.pid = int(launcher.ask(asked, [r0, w1, w2]))
        for end in (r0, w1, w2):
            os.close(end)
        self.stdin, self.stdout, self.stderr = open(w0, "w"), open(r1), open(r2)  # noqa: SIM115

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        if self._ended is None:
            self._ended = self._launcher.ask({"poll": self.pid})
        return self._ended

    def wait(self) -> int:
        """How it ended, once it has."""
        while (status := self.poll()) is None:
            threading.Event().wait(0.005)
        return status


def _serve(requests: socket.socket) -> None:
    ended: dict[int, int] = {}
    while True:
        words, passed, _, _ = requests.recvmsg(_LIMIT, socket.CMSG_SPACE(3 * 4))
        if not words:
            return
        asked = json.loads(words)
        if "poll" in asked:
            pid = asked["poll"]
            if pid not in ended:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            requests.send(json.dumps(ended.get(pid)).encode())
            continue
        descriptors = array.array("i")
        descriptors.frombytes(passed[0][2])
        pid = os.fork()
        if not pid:
            requests.close()
            _be(asked["module"], asked["spec"], asked["env"], list(descriptors))
        for one in descriptors:
            os.close(one)
        requests.send(json.dumps(pid).encode())


def _be(module: str, spec: str, env: dict[str, str], streams: list[int]) -> None:
    """Be the process of a stage; does not return."""
    status = 1
    try:
        os.setsid()
        for number, end in enumerate(streams):
            os.dup2(end, number)
            os.close(end)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = [module, spec]
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
