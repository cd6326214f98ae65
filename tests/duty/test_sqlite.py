"""The server that `puna run` starts by itself, on SQLite, under many stages at once."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.duty.services import Duty, alone
from tests.end_to_end.world import jsonl

pytestmark = [pytest.mark.duty, pytest.mark.timeout(900)]

SOURCES = 10


@pytest.fixture
def duty(tmp_path: Path) -> Iterator[Duty]:
    with alone(tmp_path) as found:
        yield found


def write(folder: Path, name: str) -> None:
    """A recipe of many sources, each of which is read, identified and judged side by side."""
    sources = {}
    for number in range(SOURCES):
        file = f"{name}-{number}.jsonl"
        text = f"The people of {name} {number} make pottery and are proud of it. "
        jsonl(folder / file, [{"text": f"Letter {page}. {text * 5}"} for page in range(300)])
        sources[f"source-{number}"] = {
            "ingest": {"format": "jsonl", "paths": [file]},
            "langid": {},
            "quality": {"rules": ["gopher"]},
            "category": "web",
        }
    engine = {"kind": "processes", "workers": SOURCES, "cpu_threads": 1}
    recipe = {"name": name, "store": name, "engine": engine, "sources": sources, "dedup": {}}
    (folder / f"{name}.yaml").write_text(json.dumps(recipe))


def at_once(runs: list[dict[str, Any]]) -> int:
    """The most flow runs that ran at one moment."""
    starts = [(run["start_time"], 1) for run in runs]
    ends = [(run["end_time"], -1) for run in runs]
    running = most = 0
    for _, change in sorted(starts + ends):
        running += change
        most = max(most, running)
    return most


def test_no_update_of_ten_stages_at_once_finds_the_database_locked(duty: Duty) -> None:
    names = ("one", "two")
    for name in names:
        write(duty.folder, name)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: duty.puna("run", f"{name}.yaml"), names))
    duty.find_server()
    runs: list[dict[str, Any]] = duty.ask("/flow_runs/filter", {"limit": 200})
    assert {run["state_type"] for run in runs} == {"COMPLETED"}
    assert len(runs) > len(names) * SOURCES * 3
    print(f"{len(runs)} flow runs, up to {at_once(runs)} at once")
    assert at_once(runs) >= SOURCES
    logs = duty.logs()
    assert "database is locked" not in logs and "OperationalError" not in logs
