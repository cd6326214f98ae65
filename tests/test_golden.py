"""A stage's bytes change only with its version. The failure message says how to fix it; see
`tests.golden`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import golden


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(golden.FILE.read_text(encoding="utf-8"))
    here = golden.environment()
    other = {
        name: (version, here[name])
        for name, version in found["environment"].items()
        if here[name] != version
    }
    if other:
        pytest.skip(
            f"golden digests were recorded with other libraries (recorded, here): {other}; see "
            "constraints.txt"
        )
    return found


@pytest.fixture(scope="module")
def now(recorded: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return golden.goldens(golden.build_all(tmp_path_factory.mktemp("golden")))


@pytest.mark.parametrize("stage", golden.bitwise_stages())
def test_output_changes_only_with_the_stage_version(
    stage: str, recorded: dict[str, Any], now: dict[str, Any]
) -> None:
    assert now[stage]["artifacts"], (
        f"no artifact of {stage} is built by tests/golden.py; let a recipe there use it"
    )
    verdict, words = golden.judge(stage, recorded["stages"], now)
    if verdict == "follows":
        pytest.skip(words)
    assert verdict == "ok", words


def test_neither_hash_seed_nor_folder_nor_locale_decides_bytes(
    now: dict[str, Any], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "a folder with spaces"
    elsewhere.mkdir()
    surroundings = {
        "PYTHONHASHSEED": "12345",
        "TMPDIR": str(elsewhere),
        "TZ": "Pacific/Auckland",
        "LC_ALL": "C",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden"],
        cwd=golden.FILE.parents[1],
        env={**os.environ, **surroundings},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["stages"] == now


def test_a_changed_output_asks_for_a_new_version() -> None:
    def artifact(digest: str = "00", inputs: str = "11", version: str = "aa") -> dict[str, str]:
        return {"digest": digest, "inputs": inputs, "version": version}

    def verdict(found: dict[str, str], version: int = 1) -> tuple[str, str]:
        before = {"cut": {"version": 1, "artifacts": {"r/cut/main": artifact()}}}
        return golden.judge(
            "cut", before, {"cut": {"version": version, "artifacts": {"r/cut/main": found}}}
        )

    assert verdict(artifact())[0] == "ok"
    assert verdict(artifact(version="bb"))[0] == "ok"  # a parameter was added that changes nothing
    assert (
        "bump tasks/cut/stage.py version, then record: python -m tests.golden --record"
        in verdict(artifact("22"))[1]
    )
    assert verdict(artifact("22"), version=2)[0] == "record"
    assert verdict(artifact("22", version="bb"))[0] == "record"
    assert verdict(artifact("22", inputs="33"))[0] == "follows"
