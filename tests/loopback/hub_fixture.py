"""The loopback hub for tests in this process: huggingface_hub and datasets are pointed at it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class HubServer:
    """A running hub: its address, its folder, and what it was asked."""

    url: str
    root: Path

    def dataset(self, id: str) -> Path:
        """The folder of a data set, made where there is none."""
        folder = self.root / "datasets" / id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def model(self, id: str) -> Path:
        """The folder of a model, made where there is none."""
        folder = self.root / "models" / id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log(self) -> list[dict[str, Any]]:
        """The requests since the last call."""
        found: list[dict[str, Any]] = json.load(self._open("/_log", method="DELETE"))
        return found

    def faults(self, *plan: tuple[str, str, int]) -> None:
        """Let requests fail: (regular expression of paths, kind, times)."""
        self._open("/_faults", method="POST", data=json.dumps(plan).encode())

    def _open(self, path: str, **given: Any) -> Any:
        return urllib.request.urlopen(urllib.request.Request(f"{self.url}{path}", **given))


@contextlib.contextmanager
def running_hub(root: Path, *options: str) -> Iterator[HubServer]:
    """A hub in a process of its own, ended at the end."""
    root.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.loopback.hub", str(root), *options],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    try:
        assert process.stdout is not None
        yield HubServer(process.stdout.readline().strip(), root)
    finally:
        process.kill()
        process.wait()


def point_at(hub: HubServer | str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `HF_ENDPOINT`, `HF_HOME` and `HF_HUB_OFFLINE=0` do when they are set before import."""
    import datasets.config
    from huggingface_hub import HfFileSystem, constants

    url = hub if isinstance(hub, str) else hub.url
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "tokens"))
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", url)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    compiled = home / "cache" / "puna" / "compiled"
    if not compiled.exists():  # an empty cache, but for compiled loops
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        (cache / "puna" / "compiled").mkdir(parents=True, exist_ok=True)
        compiled.parent.mkdir(parents=True)
        compiled.symlink_to(cache / "puna" / "compiled")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    HfFileSystem.clear_instance_cache()
