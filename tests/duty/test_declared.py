"""`prefect deploy` with the file that `puna deploy --yaml` writes, as infra/prefect.yaml is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.store import Store
from tests.duty.services import Duty

pytestmark = [pytest.mark.duty, pytest.mark.timeout(900)]

SAME = (
    *("entrypoint", "tags", "description", "pull_steps", "work_pool_name"),
    *("concurrency_options", "enforce_parameter_schema", "paused"),
)
"""What both ways of deploying must put on the server."""


def prefect(duty: Duty, *words: str) -> str:
    """Run Prefect's own command, which must end well; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *words],
        env=duty.environment | {"PWD": str(duty.folder)},  # as a shell sets it
        cwd=duty.folder,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def deployed(duty: Duty) -> dict[str, dict[str, Any]]:
    """`flow/deployment` -> what the server has."""
    names = {flow["id"]: flow["name"] for flow in duty.ask("/flows/filter", {})}
    found = duty.ask("/deployments/filter", {"limit": 200})
    return {f"{names[one['flow_id']]}/{one['name']}": one for one in found}


def schedules(one: dict[str, Any]) -> list[tuple[str, str]]:
    return [(s["schedule"]["cron"], s["schedule"]["timezone"]) for s in one["schedules"]]


def test_both_ways_put_the_same_on_the_server_and_workers_run_it(duty: Duty) -> None:
    words = ["tiny.yaml", "--cron", "0 3 * * 1", "--timezone", "Europe/Madrid"]
    words += ["--maintenance", "0 1 * * *", "--catch-up", "skip", "--store", "declared"]
    (duty.folder / "prefect.yaml").write_text(duty.puna("deploy", *words, "--yaml"))
    prefect(duty, "work-pool", "create", "puna", "--type", "process")
    for _ in range(2):  # the second time replaces what is there
        prefect(duty, "deploy", "--prefect-file", "prefect.yaml", "--all")
        declared = deployed(duty)
    # the worker's `python` is that of the environment in which Puna is installed
    path = duty.environment["PATH"]
    duty.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{path}"
    try:
        with duty.working():
            for name in ("puna/tiny", "puna-stage/tiny-select", "puna-maintenance/tiny"):
                run = duty.ended(duty.start(name))
                assert run["state_name"] == "Completed", (name, run["state"]["message"])
    finally:
        duty.environment["PATH"] = path
    records = list(Store.at(str(duty.folder / "declared")).runs())
    assert [record["status"] for record in records] == ["completed"] * 2
    duty.puna("deploy", *words)
    ours = deployed(duty)
    assert set(declared) == set(ours) >= {"puna/tiny", "puna-stage/tiny-cut"}
    for name, one in ours.items():
        assert declared[name]["id"] == one["id"]
        assert schedules(declared[name]) == schedules(one), name
        assert {key: declared[name][key] for key in SAME} == {key: one[key] for key in SAME}, name
        given = declared[name]["parameters"]
        if "recipe" in given:  # relative in the file, which another machine may read
            given = given | {"recipe": str(duty.folder / given["recipe"])}
        assert given == one["parameters"], name
        forms = [d["parameter_openapi_schema"] for d in (declared[name], one)]
        assert forms[0]["properties"] == forms[1]["properties"], name
        limits = [(d["global_concurrency_limit"] or {}).get("limit") for d in (declared[name], one)]
        assert limits[0] == limits[1], name
        variables = [d["job_variables"] for d in (declared[name], one)]
        assert variables[0]["working_dir"] == variables[1]["working_dir"] == str(duty.folder)
        assert variables[0]["env"] == variables[1]["env"]
    assert schedules(ours["puna/tiny"]) == [("0 3 * * 1", "Europe/Madrid")]
