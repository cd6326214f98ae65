"""The process that `infra.engine.forking` forks others from: `fork_server FD MODULE...`.

Imports the modules, then reads requests from the socket FD: four bytes of length with four file
descriptors (stdin, stdout, stderr, and a socket for pid and exit status), and JSON. No threads.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from typing import Any

_POLL_S = 0.1


def main(arguments: list[str]) -> int:
    """Serve until the other end of the socket is closed and all processes have ended."""
    control = socket.socket(fileno=int(arguments[0]))
    for module in arguments[1:]:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # else the first collection of every process would copy all pages
    running: dict[int, socket.socket] = {}
    serving = True
    while serving or running:
        _collect(running)
        if not serving:
            select.select([], [], [], _POLL_S)
        elif select.select([control], [], [], _POLL_S if running else None)[0]:
            serving = _serve(control, running)
    return 0


def _collect(running: dict[int, socket.socket]) -> None:
    """Tell how processes ended."""
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            _tell(running.pop(pid), os.waitstatus_to_exitcode(status), last=True)


def _tell(status: socket.socket, number: int, *, last: bool = False) -> None:
    try:
        status.sendall(number.to_bytes(8, "big", signed=True))
    except OSError:
        pass  # nobody listens any more
    finally:
        if last:
            status.close()


def _serve(control: socket.socket, running: dict[int, socket.socket]) -> bool:
    """Fork a process as one request asks; False where no more will come."""
    head, descriptors, _, _ = socket.recv_fds(control, 4, 4)
    if not head:
        return False
    body = _read(control, int.from_bytes(head + _read(control, 4 - len(head)), "big"))
    request = json.loads(body)
    stdin, stdout, stderr, told = descriptors
    pid = os.fork()
    if not pid:
        control.close()
        for status in running.values():
            status.close()
        os.close(told)
        _become(request, (stdin, stdout, stderr))
    for descriptor in (stdin, stdout, stderr):
        os.close(descriptor)
    running[pid] = socket.socket(fileno=told)
    _tell(running[pid], pid)
    return True


def _read(control: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := control.recv(size - len(data))):
        data += more
    return data


def _become(request: dict[str, Any], pipes: tuple[int, int, int]) -> None:
    """In the new process: run the module as if it had been started by itself. Does not return."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, descriptor in enumerate(pipes):
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115  (until this process ends)
        sys.stderr = open(2, "w", encoding="utf-8")  # noqa: SIM115
        os.environ.clear()
        os.environ.update(request["environment"])
        gc.enable()
        module, *arguments = request["words"]
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
