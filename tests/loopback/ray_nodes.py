"""A Ray cluster of two nodes on this machine: a head, and a second node that tests kill.

Each node is what `ray start` makes, with a folder, a raylet and workers of its own; the nodes have
one CPU each, so that two workers are on two nodes. `SECOND` is a resource of the second node.

Nodes that are `apart` stand for machines without a shared disk: each has a folder for its caches
and temporary files, and sees none of the others' nor that of this process (mount namespaces, where
this user may make them).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

MARK = "PUNA_TEST_RAY"
SECOND = "second"


_OWNERS = ("driver", "head", "second")
_HIDING = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    'while [ "$1" != -- ]; do mount -t tmpfs hidden "$1" || exit 1; shift; done; shift; exec "$@"',
    "sh",
]
"""FOLDER... -- COMMAND: run a command that sees none of the folders."""


@functools.cache
def may_hide() -> bool:
    """Whether this user may mount something in a namespace of its own."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [*_HIDING, folder, "--", "true"], capture_output=True, check=False
            )
        except OSError:
            return False
    return done.returncode == 0


class RayNodes:
    """See the module docstring. A context manager; nothing is left afterwards."""

    def __init__(self, *, apart: bool = False) -> None:
        self._apart = apart
        self._mark = secrets.token_hex(8)
        self._folder = Path(tempfile.mkdtemp(prefix="puna-test-ray-", dir="/tmp"))
        self.token = self._folder / "token"
        self.token.write_text(secrets.token_hex(32))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._client_port = free.getsockname()[1]
        self.client = f"ray://127.0.0.1:{self._client_port}"
        self.address = ""
        if apart:
            for name in _OWNERS:
                for kind in ("cache", "tmp"):
                    (self._folder / "own" / name / kind).mkdir(parents=True)

    def own(self, name: str) -> dict[str, str]:
        """Variables that give an owner ("driver", "head", "second") folders of its own."""
        folder = self._folder / "own" / name
        return {"XDG_CACHE_HOME": f"{folder}/cache", "TMPDIR": f"{folder}/tmp"}

    def __enter__(self) -> Self:
        try:
            client = f"--ray-client-server-port={self._client_port}"
            self._start("head", "--head", "--port=0", "--include-dashboard=false", client)
            self.address = (self._folder / "head" / "ray_current_cluster").read_text().strip()
            self.start_second()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        while found := self._processes():
            _kill(found)
        shutil.rmtree(self._folder, ignore_errors=True)

    def known_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Give this process the cluster's token."""
        monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(self.token))
        if self._apart:
            for name, folder in self.own("driver").items():
                monkeypatch.setenv(name, folder)
            monkeypatch.setattr(tempfile, "tempdir", None)  # it is looked up once

    @staticmethod
    def head_node(ray: Any) -> str:
        """Id of the head's node."""
        return next(n["NodeID"] for n in ray.nodes() if n["Alive"] and SECOND not in n["Resources"])

    def start_second(self) -> None:
        """Start the second node; it joins at once."""
        resources = json.dumps({SECOND: 4})
        self._start(
            f"second-{secrets.token_hex(2)}",
            f"--address={self.address}",
            f"--resources={resources}",
        )

    def kill_second(self) -> int:
        """`kill -9` of the second node's raylet, workers and agents; how many they were."""
        return self._kill_node("second")

    def kill_head(self) -> int:
        """The same of the head's node, with the cluster's memory of itself."""
        return self._kill_node("head")

    def _kill_node(self, name: str) -> int:
        found = self._processes(name)
        _kill(found)
        return len(found)

    def _start(self, name: str, *words: str) -> None:
        folder = self._folder / name
        folder.mkdir()
        environment = {
            **os.environ,
            MARK: f"{self._mark}-{name}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),  # functions of tests
            # a dead node is noticed in 5 s instead of 15
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
        }
        environment.pop("RAY_AUTH_TOKEN", None)
        hiding = []
        if self._apart:
            owner = name.partition("-")[0]
            environment |= self.own(owner)
            others = [f"{self._folder}/own/{other}" for other in _OWNERS if other != owner]
            hiding = [*_HIDING, *others, "--"] if may_hide() else []
        command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start"]
        options = ["--num-cpus=1", "--num-gpus=0", "--object-store-memory=83886080"]
        if "--head" in words:
            options.append(f"--temp-dir={folder}")
        done = subprocess.run(
            [*hiding, *command, *words, *options, "--disable-usage-stats"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _processes(self, name: str = "") -> set[psutil.Process]:
        found: set[psutil.Process] = set()
        wanted = f"{self._mark}-{name}"
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                marked: str = process.environ().get(MARK, "")
                if marked.startswith(wanted) and process.status() != psutil.STATUS_ZOMBIE:
                    found |= {process, *process.children(recursive=True)}
        return found


def _kill(processes: set[psutil.Process]) -> Any:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(list(processes), timeout=1)
