"""The persistent local Prefect server, which `puna run` starts if PREFECT_API_URL is not set.

Prefect's ephemeral server ends with the process and may lose run history. This one has its own
session, survives ^C and a kill of the run, and keeps its database in Prefect's home folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import filelock
import psutil

from flows.monitoring.proxies import reach_loopback_directly
from infra.engine.launch import safe_environment
from infra.io.files import replace_bytes

FIRST_PORT = 4200
START_TIMEOUT_S = 240.0  # a busy machine; one whose process ends is not waited for
STOP_TIMEOUT_S = 10.0
_POLL_S = 0.05

ENVIRONMENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,tasks,infra",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # most commands run no flow
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the terminal shows our own lines
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # seconds; by it a dead run is told from a slow one
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # stages show their own progress
    "TRANSFORMERS_VERBOSITY": "error",
    # skips type checks of the server's imports, which take 0.7 s
    "PY_KEY_VALUE_DISABLE_BEARTYPE": "true",
}
"""Variables of processes that run flows; those that the user has set stay."""

_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs of this machine without the environment's proxies."""


class ServerFailed(Exception):
    """The server did not start. The message says where its log is."""


@dataclass(frozen=True)
class Server:
    """A server that this module started."""

    pid: int
    port: int

    @property
    def address(self) -> str:
        """The dashboard's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        """What PREFECT_API_URL must be."""
        return f"{self.address}/api"

    def is_healthy(self) -> bool:
        """Whether it answers."""
        try:
            with _DIRECTLY.open(f"{self.api_url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


def prepare_environment() -> None:
    """Set the variables that Prefect and the workers need, unless the user has set them. Call
    before importing prefect.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    reach_loopback_directly(os.environ, os.environ.get("PREFECT_API_URL"))


def home() -> Path:
    """Prefect's home folder, with the server's database, its log, and our note of pid and port."""
    return Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect").expanduser().absolute()


def _note() -> Path:
    return home() / "puna-dashboard.json"


def log_file() -> Path:
    """The file with the server's output."""
    return home() / "puna-dashboard.log"


def _pages() -> Path:
    """The folder that the server serves its pages from: Prefect's, and below `v1/reports` ours."""
    return home() / "puna-dashboard-pages"


def publish(content: bytes, name: str) -> str | None:
    """Write a file to where our server serves it, a page or an image; its address, or None where
    the run has another server: browsers open no file from a page of the dashboard.
    """
    server = running()
    if server is None or os.environ.get("PREFECT_API_URL") != server.api_url:
        return None
    folder = _pages() / "v1" / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    replace_bytes(folder / name, content)
    return f"{server.address}/reports/{name}"


def running() -> Server | None:
    """The server started earlier, if it is running and answers."""
    server = _noted()
    if server is None or not _is_ours(server):
        return None
    return server if server.is_healthy() else None


def _noted() -> Server | None:
    """The server of the note, or None where there is no valid note."""
    try:
        noted = json.loads(_note().read_text(encoding="utf-8"))
        server = Server(int(noted["pid"]), int(noted["port"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return server if server.pid > 0 else None


# `prefect server start` with its imports done without the garbage collector: they take three
# seconds and leave no garbage. And on SQLite its transactions begin as writers, which wait for each
# other: one that reads first and then writes fails at once ("database is locked") where another has
# written meanwhile, and Prefect's automations lose the event, so that nobody is told of a failure.
_SERVE = """
import gc, runpy
gc.disable()
import prefect.server.api.server
from prefect.server.database.configurations import AioSqliteConfiguration as SQLite
begin = SQLite.begin_transaction
SQLite.begin_transaction = lambda self, session, with_for_update=False: begin(self, session, True)
gc.freeze()
gc.enable()
runpy.run_module("prefect", run_name="__main__", alter_sys=True)
"""


_INTERFACE = {
    "PREFECT_SERVER_UI_V2_ENABLED": "true",  # it draws Mermaid and Markdown, the older one does not
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}
"""How the dashboard looks, unless the user has set it."""


@dataclass(frozen=True)
class Starting:
    """A server that is starting, or already answers (`answers`).

    `process` is None if another run started it; that run may have been killed since. `lock` keeps
    other runs from starting a second server.
    """

    server: Server
    answers: bool
    process: subprocess.Popen[bytes] | None
    lock: filelock.BaseFileLock

    def wait(self) -> Server:
        """The server once it answers. Raises `ServerFailed`."""
        if self.answers:
            return self.server
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while time.monotonic() < deadline and self._lives():
                if self.server.is_healthy():
                    return self.server
                time.sleep(_POLL_S)
            stop()
        finally:
            self.lock.release()
        port = self.server.port
        raise ServerFailed(
            f"the dashboard did not start on port {port}; its output is in {log_file()}"
        )

    def _lives(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            return False
        return _is_ours(self.server)


def start(port: int | None = None) -> Server:
    """The running server, or a new one once it answers. Raises `ServerFailed`."""
    return begin(port).wait()


def begin(port: int | None = None) -> Starting:
    """The running server, or a new one: its address is known at once, and it answers seconds later.

    Waits while another run starts one. Raises `ServerFailed`.
    """
    try:
        home().mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(home() / "puna-dashboard.lock", thread_local=False)
        lock.acquire()  # two runs that start at once share one server
        try:
            return _begin(port, lock)
        except BaseException:
            lock.release()
            raise
    except OSError as error:
        raise ServerFailed(
            f"{home()} cannot hold the dashboard's database ({error.strerror}); set PREFECT_HOME "
            "to a folder you may write to"
        ) from None


def _begin(port: int | None, lock: filelock.BaseFileLock) -> Starting:
    noted = _noted()
    if noted is not None and _is_ours(noted):
        answers = noted.is_healthy()
        if answers:
            lock.release()  # no other run need wait for this one
        return Starting(noted, answers, None, lock)
    server, process = _spawn(port)
    return Starting(server, False, process, lock)


def _spawn(port: int | None) -> tuple[Server, subprocess.Popen[bytes]]:
    chosen, claim = (port, _claim(port)) if port else _free_port()
    if claim is None:
        raise ServerFailed(
            f"port {chosen} is in use or invalid; name another: puna dashboard start --port N"
        )
    command = [
        sys.executable,
        "-P",
        "-c",
        _SERVE,
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(chosen),
    ]
    environment = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    environment |= safe_environment()
    environment |= {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str(home()),
        "PREFECT_UI_STATIC_DIRECTORY": str(_pages()),
    }
    for name, value in _INTERFACE.items():
        environment.setdefault(name, value)
    # Without it, the dashboard's pages ask port 4200, whatever the server's own port is.
    environment.setdefault("PREFECT_UI_API_URL", Server(0, chosen).api_url)
    environment.pop("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", None)
    with claim, log_file().open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment,
            cwd=home(),
            pass_fds=[claim.fileno()],
        )
    server = Server(process.pid, chosen)
    try:
        replace_bytes(_note(), json.dumps({"pid": server.pid, "port": server.port}).encode())
    except BaseException:
        process.kill()  # without the note nobody could stop it
        raise
    return server, process


def stop() -> bool:
    """Stop the server that this module started; False if there is none."""
    server = _noted()
    if server is None:
        return False
    _note().unlink(missing_ok=True)
    if not _is_ours(server):
        return False
    pid = server.pid
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        os.killpg(pid, signal.SIGTERM)
        try:
            leader.wait(STOP_TIMEOUT_S)
        except psutil.TimeoutExpired:
            os.killpg(pid, signal.SIGKILL)
    return True


def _is_ours(server: Server) -> bool:
    """Whether the pid still belongs to this server: not to another program or Prefect server."""
    try:
        command = psutil.Process(server.pid).cmdline()
    except psutil.Error:
        return False
    return "prefect" in " ".join(command) and command[-2:] == ["--port", str(server.port)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def _claim(port: int) -> socket.socket | None:
    """A claim on a port, which the server holds until it ends; None if the port is in use.

    A server listens only seconds after its start. Without a claim, two servers with different home
    folders that start together would both find the port free, and the second run would mistake the
    first server for its own. (Abstract sockets, which need no file, exist on Linux only.)
    """
    claim = socket.socket(socket.AF_UNIX)
    try:
        if sys.platform == "linux":
            claim.bind(f"\0puna-dashboard-{port}")
        if _is_free(port):
            return claim
    except OSError:
        pass
    claim.close()
    return None


def _free_port() -> tuple[int, socket.socket]:
    for port in range(FIRST_PORT, FIRST_PORT + 100):
        if (claim := _claim(port)) is not None:
            return port, claim
    raise ServerFailed(
        f"no free port between {FIRST_PORT} and {FIRST_PORT + 99}; name one: puna dashboard start "
        "--port N"
    )
