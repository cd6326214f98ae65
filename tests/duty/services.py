"""Services that stay up while tests look at them: Postgres, Prefect's server, a worker.

Each is the real program, started as an operator would start it, on this machine.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
AUTH = "somebody:planted-password"
"""User and password of the server, as where it does not listen on loopback only."""

START_S = 240.0
_POLL_S = 0.5


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(what: str, look: Callable[[], T], within_s: float) -> T:
    """What `look` returns as soon as that is true; fails after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {within_s:.0f} s"
        time.sleep(_POLL_S)
    return found


@dataclass
class Service:
    """A program that runs until it is stopped; its output is in `log`."""

    command: list[str]
    environment: dict[str, str] = field(repr=False)
    folder: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    exit_status: int | None = None
    """How it ended, once it has."""

    def start(self) -> None:
        """Start it, in a process group of its own."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send the program itself a signal, not what it started, and wait for its end."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        self.exit_status = self.process.wait(60)

    def interrupt(self) -> None:
        """^C, as a terminal sends it: to the program and to all that it started."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)
        self.exit_status = self.process.wait(120)

    def stop(self) -> None:
        """Ask it to end, and kill its group after a while."""
        if self.process is None or self.process.poll() is not None:
            return
        try:
            self.signal(signal.SIGTERM)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A Postgres cluster of its own; yields the URL that Prefect takes. Skips without Postgres."""
    found = shutil.which("initdb")
    if found is None:
        pytest.skip("Postgres is not installed (Debian: apt install postgresql)")
    binaries, port = Path(found).resolve().parent, free_port()
    # Postgres refuses to run as root, and no other user may enter pytest's folders
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    data = Path(tempfile.mkdtemp(prefix="puna-postgres-"))
    (folder / "postgres").symlink_to(data)
    if user:
        shutil.chown(data, "postgres")

    def do(*words: str) -> None:
        subprocess.run([*user, *words], check=True, capture_output=True, cwd="/")

    do(str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", "prefect")
    options = f"-p {port} -k {data} -h 127.0.0.1 -c fsync=off"
    control = str(binaries / "pg_ctl")
    do(control, "-D", str(data), "-w", "-l", str(data / "log"), "-o", options, "start")
    try:
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
    finally:
        do(control, "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(data)


@dataclass
class Duty:
    """Prefect's server, and the `puna` command and workers that use it."""

    folder: Path
    environment: dict[str, str] = field(repr=False)
    server: Service = field(default_factory=lambda: Service([], {}, Path(), Path()))
    workers: list[Service] = field(default_factory=list)

    def find_server(self) -> None:
        """Use the server that a command has started by itself."""
        note = json.loads((self.folder / "prefect" / "puna-dashboard.json").read_text())
        self.environment["PREFECT_API_URL"] = f"http://127.0.0.1:{note['port']}/api"

    @property
    def api_url(self) -> str:
        """The server's API."""
        return self.environment["PREFECT_API_URL"]

    def puna(self, *words: object) -> str:
        """Run a command to its end, which must be good; returns its standard output."""
        command = [str(Path(sys.executable).with_name("puna")), *map(str, words)]
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def worker(self, name: str = "worker", before: Sequence[str] = ()) -> Service:
        """A worker, as `puna deploy` says to start one; not started yet. `before`: what starts it,
        as an image's entry point does.
        """
        command = [*before, sys.executable, "-m", "prefect", "worker", "start", "-p", "puna", "-t"]
        log = self.folder / f"{name}.log"
        made = Service([*command, "process", "--name", name], self.environment, self.folder, log)
        self.workers.append(made)
        return made

    def leave_nothing(self) -> None:
        """End workers and runs that a test has left, as one that failed does."""
        for worker in self.workers:
            worker.stop()
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    @contextlib.contextmanager
    def working(self, name: str = "worker") -> Iterator[Service]:
        """While a worker runs."""
        worker = self.worker(name)
        worker.start()
        try:
            yield worker
        finally:
            worker.stop()

    def logs(self) -> str:
        """All that server, database, workers and runs have logged."""
        files = [
            *(self.folder / "prefect").glob("*.log"),
            *self.folder.glob("*.log"),
            *self.folder.glob("postgres/log"),
        ]
        text = [file.read_text(errors="replace") for file in files]
        limit = 200
        for offset in itertools.count(0, limit):
            page = self.ask("/logs/filter", {"limit": limit, "offset": offset})
            text += [line["message"] for line in page]
            if len(page) < limit:
                return "\n".join(text)
        raise AssertionError

    def ask(self, path: str, body: dict[str, Any] | None = None, method: str = "") -> Any:
        """What the server's API answers. Raises `HTTPError`."""
        user = base64.b64encode(self.environment.get("PREFECT_API_AUTH_STRING", "").encode())
        request = urllib.request.Request(
            f"{self.api_url}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Basic {user.decode()}"},
            method=method or ("GET" if body is None else "POST"),
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read() or b"null")

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment by its full name."""
        found: dict[str, Any] = self.ask(f"/deployments/name/{name}")
        return found

    def start(self, deployment: str, **parameters: Any) -> str:
        """Start a run as the dashboard's form does; returns its id."""
        id = self.deployment(deployment)["id"]
        made = self.ask(
            f"/deployments/{id}/create_flow_run",
            {"parameters": parameters, "state": {"type": "SCHEDULED"}},
        )
        return str(made["id"])

    def run(self, id: str) -> dict[str, Any]:
        """A flow run."""
        found: dict[str, Any] = self.ask(f"/flow_runs/{id}")
        return found

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """A deployment's flow runs, in the order of their times."""
        id = self.deployment(deployment)["id"]
        found: list[dict[str, Any]] = self.ask(
            "/flow_runs/filter",
            {
                "flow_runs": {"deployment_id": {"any_": [id]}},
                "sort": "EXPECTED_START_TIME_ASC",
                "limit": 200,
            },
        )
        return found

    def ended(self, id: str, within_s: float = 240) -> dict[str, Any]:
        """A flow run, when it has ended."""
        ends = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
        wait_for(f"end of {id}", lambda: self.run(id)["state_type"] in ends, within_s)
        return self.run(id)

    def processes(self) -> dict[int, str]:
        """Process ids of the runs that workers have started, with their flow runs."""
        home = f"PREFECT_HOME={self.environment['PREFECT_HOME']}".encode()
        found = {}
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # gone meanwhile
                if b"prefect.engine" in path.read_bytes():
                    variables = (path.parent / "environ").read_bytes().split(b"\0")
                    values = dict(word.split(b"=", 1) for word in variables if b"=" in word)
                    if home in variables:
                        flow_run = values[b"PREFECT__FLOW_RUN_ID"].decode()
                        found[int(path.parent.name)] = flow_run
        return found

    def process_of(self, id: str) -> int:
        """The process of a flow run that a worker has started."""
        (found,) = [pid for pid, flow_run in self.processes().items() if flow_run == id]
        return found

    def is_healthy(self) -> bool:
        """Whether the server answers."""
        try:
            self.ask("/health")
        except (OSError, urllib.error.URLError):
            return False
        return True


def surroundings(folder: Path) -> dict[str, str]:
    """Variables of programs whose home is a folder; nothing of the user's own is touched. Compiled
    loops are cached beside it, for all tests of a session.
    """
    own = ("PREFECT_", "PUNA_", "AWS_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    home = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder.parent / "cache")}
    home |= {"PREFECT_HOME": str(folder / "prefect")}
    return kept | home | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[Duty]:
    """A machine without services: the first command starts Prefect's server, on SQLite."""
    duty = Duty(folder, surroundings(folder))
    try:
        yield duty
    finally:
        duty.leave_nothing()
        duty.environment.pop("PREFECT_API_URL", None)
        duty.puna("dashboard", "stop")


@contextlib.contextmanager
def on_duty(folder: Path) -> Iterator[Duty]:
    """Postgres and Prefect's server, in surroundings of their own."""
    port = free_port()
    with postgres(folder) as database:
        environment = {
            **surroundings(folder),
            "PREFECT_API_AUTH_STRING": AUTH,
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_UI_API_URL": f"http://127.0.0.1:{port}/api",
        }
        listen = ["--host", "127.0.0.1", "--port", str(port)]
        server = Service(
            [sys.executable, "-m", "prefect", "server", "start", *listen],
            environment
            | {
                "PREFECT_API_DATABASE_CONNECTION_URL": database,
                "PREFECT_SERVER_API_AUTH_STRING": AUTH,
            },
            folder,
            folder / "server.log",
        )
        server.start()
        duty = Duty(folder, environment, server)
        try:
            wait_for("Prefect's server", duty.is_healthy, START_S)
            yield duty
        finally:
            duty.leave_nothing()
            server.stop()
