"""Printing never fails a run: whoever reads what it prints may go before it ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.store import Store
from tests.end_to_end.fixtures import PUNA, Puna
from tests.end_to_end.world import jsonl

RECIPE = """\
name: tiny
engine: {kind: inline}
sources:
  letters:
    ingest: {format: jsonl, paths: [letters.jsonl]}
    category: letters
dedup: null
select: {heldout: null}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    jsonl(tmp_path / "letters.jsonl", [{"text": f"Letter {n} from Arlow. " * 9} for n in range(9)])
    file = tmp_path / "tiny.yaml"
    file.write_text(RECIPE)
    return file


@pytest.mark.parametrize(
    ("streams", "status"),
    [
        ("2>&-", 0),
        ("<&- >&- 2>&-", 0),
        ("2>/dev/full", 0),
        (">/dev/full", 1),  # its results are lost, the run is not
        ("2>&1 | :", 0),
    ],
)
def test_a_run_ends_well_when_nobody_reads_what_it_prints(
    puna: Puna, recipe: Path, streams: str, status: int
) -> None:
    ended = recipe.parent / "status"
    command = f'({PUNA} run {recipe} --store {recipe.parent}/store; echo "$?" >{ended}) {streams}'
    done = subprocess.run(
        ["sh", "-c", command],
        env=puna.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.read_text() == f"{status}\n", done.stderr
    assert "Traceback" not in done.stderr
    store = Store.at(str(recipe.parent / "store"))
    assert [run["status"] for run in store.runs()] == ["completed"]
    if status:
        assert "error: stdout cannot be written (No space left on device)" in done.stderr
    files = [path for path in (recipe.parent / "store").rglob("*") if path.is_file()]
    assert not [path for path in files if b"to run" in path.read_bytes()]  # no line is in a file
