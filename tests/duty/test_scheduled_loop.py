"""The loop per crawl as it is on duty: nobody starts a run but the schedule."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.store import Store, promotions
from tests.duty.services import Duty, wait_for
from tests.end_to_end.monthly import drops, write_recipe

pytestmark = [pytest.mark.duty, pytest.mark.timeout(1800)]

NOTHING_NEW_S = 15
"""A run that has nothing to do ends in less, on a busy machine too."""


def ended(duty: Duty) -> list[dict[str, Any]]:
    """The runs that have ended, but for those that were left out, in the order of their ends: a
    run that waited for another may end after one of a later time.
    """
    runs = [run for run in duty.runs("puna/monthly") if run["end_time"]]
    return sorted(
        (run for run in runs if run["state_name"] != "Skipped"), key=lambda run: run["end_time"]
    )


def next_end(duty: Duty, begun: int, *names: str) -> dict[str, Any]:
    """The next run that ends in a state of one of these names; all before it had nothing to do.
    `begun`: how many had ended before.
    """

    def found() -> dict[str, Any] | None:
        runs = ended(duty)[begun:]
        return next((run for run in runs if run["state_name"] in names), None)

    run = wait_for(f"a run that ends as {names}", found, 400)
    before = ended(duty)[begun:]
    between = before[: [one["id"] for one in before].index(run["id"])]
    assert {one["state_name"] for one in between} <= {"Nothing new"}
    print(f"{run['expected_start_time'][11:16]} {run['state_name']}: {run['total_run_time']:.1f} s")
    return run


def whole_files(duty: Duty) -> Iterator[str]:
    """Crawls dropped as they should be: renamed into the folder when they are whole."""
    staged, folder = duty.folder / "staged", duty.folder / "crawls"
    folder.mkdir(exist_ok=True)
    for name in drops(staged):
        if name:
            Path(staged / "crawls" / f"{name}.jsonl").rename(folder / f"{name}.jsonl")
        yield name


def test_four_scheduled_runs_over_a_folder_that_grows(duty: Duty) -> None:
    write_recipe(duty.folder)
    store = Store.at(str(duty.folder / "monthly-store"))
    crawls = whole_files(duty)
    next(crawls)
    words = ["--cron", "* * * * *", "--store", "monthly-store"]
    duty.puna("deploy", "monthly.yaml", *words)
    started = time.monotonic()
    with duty.working("loop"):
        first = next_end(duty, 0, "Completed")
        one = promotions.promoted_run(store, "monthly")
        assert one is not None
        next(crawls)  # no crawl
        nothing = next_end(duty, len(ended(duty)), "Nothing new")
        assert nothing["total_run_time"] < NOTHING_NEW_S
        assert "no file of web" in nothing["state"]["message"]
        begun = len(ended(duty))
        next(crawls)
        third = next_end(duty, begun, "Completed")
        two = promotions.promoted_run(store, "monthly")
        begun = len(ended(duty))
        next(crawls)
        fourth = next_end(duty, begun, "Not promoted")
    print(f"all of it took {time.monotonic() - started:.0f} s")
    runs = [first, nothing, third, fourth]
    assert all(run["auto_scheduled"] for run in runs)
    chain = [record["run"] for record in promotions.chain(store, two)]
    assert chain == [one, two] and promotions.promoted_run(store, "monthly") == two
    record = next(run for run in store.runs() if run["flow_run_id"] == fourth["id"])
    assert record["continues"] == two and record["status"] == "not promoted"
    (reason,) = record["promotion"]["reasons"]
    assert reason.startswith("earlier/web (bits per byte) rose by 0.")
    assert fourth["state"]["message"] == reason
    latest = {
        f"{ref['stage']}/{ref['name']}": ref["version"]
        for ref in store.references()
        if ref["tag"] == "latest"
    }
    versions = [
        {f"{s['stage']}/{s['name']}": s["version"] for s in run["stages"]}
        for run in store.runs()
        if run["run"] in chain
    ]
    assert latest == versions[0] | versions[1]
