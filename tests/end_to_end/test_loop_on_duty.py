"""The loop per crawl through `puna run` and Prefect; run by `make duty`."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from infra.store import Store, promotions
from tests.end_to_end.fixtures import Puna
from tests.end_to_end.monthly import drops, write_recipe

pytestmark = [pytest.mark.duty, pytest.mark.timeout(1200)]

NOTHING_NEW_S = 15
"""A run that has nothing to do ends in less, on a busy machine too."""


def test_four_runs_over_a_folder_that_grows(puna: Puna, tmp_path: Path) -> None:
    recipe, store = write_recipe(tmp_path), tmp_path / "store"
    runs = [puna("run", recipe, "--store", store, "--json", timeout_s=600) for _ in drops(tmp_path)]
    assert [run.returncode for run in runs] == [0, 0, 0, 3], [run.stderr for run in runs]
    first, nothing, third, refused = (run.json for run in runs)
    assert nothing["status"] == "nothing new" and runs[1].seconds < NOTHING_NEW_S
    assert "no file of web" in runs[1].stderr
    assert third["promotion"]["from"] == first["run"] and third["promotion"]["promoted"]
    assert refused["status"] == "not promoted"
    assert refused["promotion"]["reasons"][0].startswith("earlier/web (bits per byte) rose")
    opened = Store.at(str(store))
    assert promotions.promoted_run(opened, "monthly") == third["run"]
    by_run = {record["run"]: record for record in opened.runs()}
    assert by_run[refused["run"]]["continues"] == third["run"]
    assert by_run[refused["run"]]["promotion"] == refused["promotion"]
    flow_run = _flow_run(puna, by_run[refused["run"]]["flow_run_id"])
    assert (flow_run["state"]["type"], flow_run["state"]["name"]) == ("COMPLETED", "Not promoted")
    assert flow_run["state"]["message"] == refused["promotion"]["reasons"][0]


def _flow_run(puna: Puna, id: str) -> dict[str, dict[str, str]]:
    with urllib.request.urlopen(f"{puna.api_url}/flow_runs/{id}", timeout=30) as answer:
        found: dict[str, dict[str, str]] = json.loads(answer.read())
    return found
