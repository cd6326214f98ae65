"""Where stores lie, and what can happen to these places: a small disk in memory, an S3 on loopback,
a Prefect server. Each is a process or a mount that ends with its block.
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
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.loopback.s3 import CREDENTIALS

DISK_BYTES = 128 << 20
INODES = 30_000


class Disk:
    """A tmpfs of its own. Mounting takes root."""

    def __init__(self, folder: Path, number: int = DISK_BYTES) -> None:
        self.folder, self._bytes = folder, number

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        options = f"size={self._bytes},nr_inodes={INODES},mode=755"
        _command("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder))
        return self

    def __exit__(self, *_: object) -> None:
        _command("umount", "--lazy", str(self.folder))

    def read_only(self, within_s: float = 2.0) -> bool:
        """Mount it read-only, as soon as no file is open for writing; whether that worked."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self._remount("ro"):
                return True
            time.sleep(0.001)
        return False

    def writable(self) -> None:
        """Mount it for writing."""
        assert self._remount("rw")

    def _remount(self, how: str) -> bool:
        words = ["mount", "-o", f"remount,{how}", str(self.folder)]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def fill(self) -> None:
        """Leave no byte."""
        with open(self.folder / ".filler", "wb", buffering=0) as stream:
            with contextlib.suppress(OSError):
                while True:
                    stream.write(b"\0" * (1 << 20))
            with contextlib.suppress(OSError):
                while True:
                    stream.write(b"\0" * 4096)

    def fill_inodes(self) -> None:
        """Leave no inode."""
        for more in range(100):  # a run that writes meanwhile takes some
            used = INODES - os.statvfs(self.folder).f_ffree
            if self._remount(f"rw,nr_inodes={used + more // 4}"):
                return
        raise AssertionError("the number of inodes cannot be set")

    def empty(self) -> None:
        """Undo `fill` and `fill_inodes`."""
        (self.folder / ".filler").unlink(missing_ok=True)
        assert self._remount(f"rw,nr_inodes={INODES}")


def can_mount(folder: Path) -> bool:
    """Whether this user may mount."""
    try:
        with Disk(folder / "mounted"):
            return True
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False
    finally:
        with contextlib.suppress(OSError):
            (folder / "mounted").rmdir()


def _command(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


class _Server:
    """A process of ours that answers at an address."""

    def __init__(self, words: list[str], environment: dict[str, str], log: Path) -> None:
        self._words, self._environment, self._log = words, environment, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, health: str, within_s: float = 120) -> None:
        """Start it, and return when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._words,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + within_s
        while not _answers(health):
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < deadline, f"{health} does not answer"
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and what it started; wait for it after SIGKILL."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)
            if number == signal.SIGKILL:
                self._process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class S3(_Server):
    """A server that keeps objects as files below `folder`, whose answers go wrong on demand."""

    BUCKET = "puna"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder, self._plan = folder / "objects", folder / "plan.json"
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        words = [sys.executable, "-m", "tests.faults.runs.s3", str(self.folder), str(self._port)]
        super().__init__([*words, str(self._plan)], dict(os.environ), folder / "log")

    @property
    def environment(self) -> dict[str, str]:
        """With which runs reach it."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.address}

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGKILL)

    def begin(self) -> None:
        """Start it, with what it held before."""
        self.start(f"{self.address}/{self.BUCKET}")

    def go_wrong(self, kinds: list[dict[str, Any]], share: float, for_s: float) -> None:
        """Answer this share of requests wrongly from now on, for so long."""
        plan = {"kinds": kinds, "share": share, "until": time.monotonic() + for_s}
        partial = self._plan.with_suffix(".partial")
        partial.write_text(json.dumps(plan))
        partial.replace(self._plan)

    def go_right(self) -> None:
        """Answer rightly."""
        self._plan.unlink(missing_ok=True)


class Prefect(_Server):
    """A Prefect server with a database of its own."""

    def __init__(self, folder: Path) -> None:
        from flows.monitoring import server

        folder.mkdir(parents=True)
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self._health = f"{self.address}/api/health"
        words = [sys.executable, "-P", "-c", server._SERVE, "server", "start"]
        words += ["--host", "127.0.0.1", "--port", str(port)]
        environment = os.environ | {
            "PREFECT_HOME": str(folder),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_UI_ENABLED": "false",
        }
        environment.pop("PREFECT_API_URL", None)
        environment.pop("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", None)
        super().__init__(words, environment, folder / "log")

    @property
    def environment(self) -> dict[str, str]:
        """With which runs reach it."""
        return {"PREFECT_API_URL": f"{self.address}/api"}

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGKILL)

    def begin(self) -> None:
        """Start it over the database that it had before."""
        self.start(self._health)

    def ask(self, path: str, content: dict[str, Any]) -> Any:
        """POST to its API; returns the answer."""
        request = urllib.request.Request(
            f"{self.address}/api/{path}",
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)
