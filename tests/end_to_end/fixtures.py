"""Fixtures of tests that run the `puna` command: one Prefect server and one whole run of the small
recipe a session.

Nothing of the user's home is touched: Prefect's home, caches and stores lie in a temporary folder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from infra.store import Artifact, Store
from tests.end_to_end.world import write_recipe, write_world

PUNA = Path(sys.executable).with_name("puna")
MARK = "PUNA_TEST_MARK"


@dataclass(frozen=True)
class Done:
    """A finished command."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        found: dict[str, Any] = json.loads(self.stdout)
        return found

    def results(self) -> dict[str, str]:
        """`stage/name` -> hit, built, ..."""
        return {
            f"{stage['stage']}/{stage['name']}": stage["result"] for stage in self.json["stages"]
        }


@dataclass
class Running:
    """A command in a process session of its own; every process it leads to carries its mark."""

    process: subprocess.Popen[str]
    mark: str

    def kill_group(self) -> None:
        """`kill -9` of the whole process group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def left_behind(self, within_s: float) -> list[str]:
        """Command lines of its processes that still live after `within_s` seconds."""
        deadline = time.monotonic() + within_s
        while (found := marked_processes(self.mark)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return found


@dataclass(frozen=True)
class Puna:
    """The `puna` command in surroundings of its own."""

    home: Path
    environment: dict[str, str] = field(repr=False)
    api_url: str = ""

    def __call__(self, *words: object, timeout_s: float = 280) -> Done:
        """Run it to its end."""
        started = time.monotonic()
        done = subprocess.run(
            [str(PUNA), *map(str, words)],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - started)

    def start(self, *words: object) -> Running:
        """Start it, as a shell starts a job."""
        mark = uuid4().hex
        process = subprocess.Popen(
            [str(PUNA), *map(str, words)],
            env={**self.environment, MARK: mark},
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return Running(process, mark)

    def flow_runs(self, since: str = "") -> list[dict[str, Any]]:
        """Prefect's flow runs that were expected to start after `since` (ISO 8601), newest
        first.
        """
        filters: dict[str, Any] = (
            {"flow_runs": {"expected_start_time": {"after_": since}}} if since else {}
        )
        found: list[dict[str, Any]] = self.ask(
            "flow_runs/filter", {**filters, "sort": "START_TIME_DESC", "limit": 200}
        )
        return found

    def ask(self, path: str, content: dict[str, Any]) -> Any:
        """POST to Prefect's API; returns its answer."""
        request = urllib.request.Request(
            f"{self.api_url}/{path}",
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


def marked_processes(mark: str) -> list[str]:
    """Command lines of living processes whose environment carries the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() not in (folder / "environ").read_bytes():
                continue
            if (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # gone, or not ours to read
    return found


PLANTED_SECRET = "correct-horse-battery-staple"
"""In the environment of every command (`PLANTED`), and nowhere else: see `test_run.py`."""

PLANTED = {
    "PLANTED_TOKEN": PLANTED_SECRET,
    "AWS_SECRET_ACCESS_KEY": f"aws-{PLANTED_SECRET}",
    "HF_TOKEN": f"hf-{PLANTED_SECRET}",
    "WANDB_API_KEY": f"wandb-{PLANTED_SECRET}",
    "HTTPS_PROXY": f"http://me:{PLANTED_SECRET}@127.0.0.1:9",
}


@pytest.fixture(scope="session")
def puna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Puna]:
    """The command, with a Prefect server that lives for the session."""
    home = tmp_path_factory.mktemp("home")
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "PUNA_"))
    }
    environment |= {
        "PREFECT_HOME": str(home / "prefect"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "HOME": str(home),
        **PLANTED,
    }
    # Compiled loops are named by their code: homes share them, and compile them once.
    compiled = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "puna", "compiled")
    compiled.mkdir(parents=True, exist_ok=True)
    (home / "cache" / "puna").mkdir(parents=True)
    (home / "cache" / "puna" / "compiled").symlink_to(compiled)
    bare = Puna(home, environment)
    started = bare("dashboard", "start")
    assert started.returncode == 0, started.stderr
    yield Puna(home, environment, f"{started.stdout.split()[-1]}/api")
    bare("dashboard", "stop")


@dataclass(frozen=True)
class SmallRun:
    """The small recipe, run to its end."""

    recipe: Path
    url: Path
    done: Done

    @property
    def store(self) -> Store:
        """Its store."""
        return Store.at(str(self.url))

    def artifacts(self) -> dict[str, Artifact]:
        """`stage/name` -> what this run built."""
        found = {}
        for stage in self.done.json["stages"]:
            artifact = self.store.find(stage["stage"], stage["name"], stage["version"])
            assert artifact is not None
            found[f"{stage['stage']}/{stage['name']}"] = artifact
        return found


@pytest.fixture(scope="session")
def small_run(puna: Puna, tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """`puna run small.yaml --json`, uninterrupted; tests that add to its store must not run without
    `-s`.
    """
    folder = tmp_path_factory.mktemp("small")
    write_world(folder / "world", pages=96)
    recipe = write_recipe(folder / "world")
    done = puna("run", recipe, "--store", folder / "store", "--json", timeout_s=850)
    assert done.returncode == 0, done.stderr
    return SmallRun(recipe, folder / "store", done)
