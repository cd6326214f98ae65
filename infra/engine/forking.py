"""Processes of one of our modules, forked from one that has imported what they need.

Many short trainings and evaluations would each spend seconds of processor time on importing torch.
The first of them starts a server here (`infra.engine.fork_server`), which imports the modules once
and forks a process for every request; such a process runs as if it had been started by itself, with
its own pipes, session and environment. The server has no threads and does nothing else, so that
forking it is safe. It must not have touched a GPU: callers use it on CPUs only.

The server ends when this process does, however that dies, and the processes that it has forked have
ended: these see their stdin close, as all that `infra.engine.group` starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from infra.engine.launch import BOOTSTRAP

SERVER = "infra.engine.fork_server"
MARK = "PUNA_PROCESSES"
"""Variable that all processes of a group carry (`infra.engine.group`); a server is of none."""

GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
"""Without any of these a machine has no GPU that torch could use, and torch need not be asked."""

GONE = -9
"""Exit status of a process whose server is gone."""


def has_gpu() -> bool:
    """Whether this machine may have a GPU."""
    return any(Path(path).exists() for path in GPU_FILES)


_servers: dict[tuple[tuple[str, ...], str], _Server] = {}
_lock = threading.Lock()


class _Server:
    """A running server. `modules`: what it has imported."""

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair()
        self._sending = threading.Lock()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(BOOTSTRAP), SERVER, str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                env={name: value for name, value in environment.items() if name != MARK},
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # ^C is for this process only
            )

    def fork(self, request: Mapping[str, object], descriptors: Sequence[int]) -> None:
        """Ask for a process with these file descriptors. Raises `OSError` if the server is gone."""
        body = json.dumps(request).encode()
        with self._sending:
            socket.send_fds(self._control, [len(body).to_bytes(4, "big")], list(descriptors))
            self._control.sendall(body)

    def close(self) -> None:
        """Take no further requests."""
        self._control.close()


class Forked:
    """A process as `subprocess.Popen` shows one: text pipes, `pid`, `poll`, `wait`.

    Args:
        words: our module and its arguments, such as ["tasks.training", "SPEC.json"].
        env: all variables of the process; the server has those of the first that it forks.
        modules: what the server that it is forked from has imported.
    """

    def __init__(
        self, words: Sequence[str], *, env: Mapping[str, str], modules: Sequence[str]
    ) -> None:
        (child_in, stdin), (stdout, child_out), (stderr, child_err) = (os.pipe() for _ in range(3))
        self._status, theirs = socket.socketpair()
        self.returncode: int | None = None
        given = [child_in, child_out, child_err, theirs.fileno()]
        try:
            _server(modules, env).fork({"words": list(words), "environment": dict(env)}, given)
        except OSError:
            for descriptor in (stdin, stdout, stderr):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (child_in, child_out, child_err):
                os.close(descriptor)
            theirs.close()
        self.stdin: IO[str] = open(stdin, "w", encoding="utf-8")  # noqa: SIM115  (as Popen has them)
        self.stdout: IO[str] = open(stdout, encoding="utf-8", errors="replace")  # noqa: SIM115
        self.stderr: IO[str] = open(stderr, encoding="utf-8", errors="replace")  # noqa: SIM115
        self.pid = self._receive() or 0

    def poll(self) -> int | None:
        """How it ended (negative: by that signal); None while it runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self) -> int:
        """How it ended, once it has."""
        if self.returncode is None:
            self._end()
        return GONE if self.returncode is None else self.returncode

    def _end(self) -> None:
        found = self._receive()
        self.returncode = GONE if found is None else found
        self._status.close()

    def _receive(self) -> int | None:
        """A number that the server sends; None where it is gone."""
        data = b""
        with contextlib.suppress(OSError):
            while len(data) < 8 and (more := self._status.recv(8 - len(data))):
                data += more
        return int.from_bytes(data, "big", signed=True) if len(data) == 8 else None


def _server(modules: Sequence[str], environment: Mapping[str, str]) -> _Server:
    """The server that has imported these modules, with so many threads."""
    key = (tuple(modules), environment.get("OMP_NUM_THREADS", ""))
    with _lock:
        found = _servers.get(key)
        if found is None or found.process.poll() is not None:
            found = _servers[key] = _Server(modules, environment)
        return found


def close_servers() -> None:
    """Let all servers end, when the processes forked from them have."""
    with _lock:
        for server in _servers.values():
            server.close()
        _servers.clear()
