"""A deployed recipe: schedules, backlogs, reruns from the form, maintenance, passwords."""

from __future__ import annotations

import datetime
import json
import re
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from infra.store import Store
from tests.duty.conftest import Told
from tests.duty.services import Duty, wait_for

pytestmark = [pytest.mark.duty, pytest.mark.timeout(1800)]

MISSED = 50


def miss(duty: Duty, deployment: str, hours: int) -> None:
    """As if no worker had been there: hourly runs of the last `hours` hours, scheduled."""
    now = datetime.datetime.now(datetime.UTC)
    duty.ask(
        f"/deployments/{duty.deployment(deployment)['id']}/schedule",
        {
            "start_time": (now - datetime.timedelta(hours=hours)).isoformat(),
            "end_time": now.isoformat(),
            "min_runs": hours,
            "max_runs": hours,
        },
    )


@pytest.mark.parametrize(("catch_up", "completed"), [("newest", 1), ("skip", 0)])
def test_a_worker_that_comes_back_does_not_run_all_it_missed(
    duty: Duty, catch_up: str, completed: int
) -> None:
    set_ = f"name={catch_up}"
    duty.puna("deploy", "tiny.yaml", "--cron", "30 * * * *", "--catch-up", catch_up, "-s", set_)
    deployment = f"puna/{catch_up}"
    miss(duty, deployment, MISSED)

    def missed() -> list[dict[str, Any]]:
        now = datetime.datetime.now(datetime.UTC).isoformat()
        return [run for run in duty.runs(deployment) if run["expected_start_time"] < now]

    assert len(missed()) == MISSED
    with duty.working():
        wait_for(
            "end of the backlog",
            lambda: all(run["state_type"] in ("COMPLETED", "CANCELLED") for run in missed()),
            800,
        )
    states = Counter(run["state_name"] for run in missed())
    assert states == Counter({"Completed": completed, "Skipped": MISSED - completed}) - Counter()
    assert missed()[-1]["state_name"] == ("Completed" if completed else "Skipped")
    assert f"catch-up: {catch_up}" in missed()[0]["state"]["message"]


def test_a_schedule_goes_when_it_is_deployed_without(duty: Duty) -> None:
    duty.puna("deploy", "tiny.yaml", "--cron", "0 3 * * *", "--cron", "0 3 * * *")
    id = duty.deployment("puna/tiny")["id"]
    day = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    window = {"start_time": day.isoformat(), "min_runs": 1, "max_runs": 1}
    duty.ask(f"/deployments/{id}/schedule", window)
    times = Counter(run["expected_start_time"] for run in duty.runs("puna/tiny"))
    assert times and set(times.values()) == {2}  # one minute, two schedules, two runs
    for schedule in duty.deployment("puna/tiny")["schedules"]:  # switched off for tonight
        path = f"/deployments/{id}/schedules/{schedule['id']}"
        duty.ask(path, {"active": False}, method="PATCH")
    duty.puna("deploy", "tiny.yaml", "--cron", "0 4 * * *")
    (schedule,) = duty.deployment("puna/tiny")["schedules"]
    assert schedule["active"] and schedule["schedule"]["cron"] == "0 4 * * *"
    duty.puna("deploy", "tiny.yaml")
    found = duty.deployment("puna/tiny")
    assert found["id"] == id and found["schedules"] == []
    # Prefect's scheduler may have been making runs of the schedule at that moment; the next
    # deployment takes them, and one that starts all the same ends as Skipped
    if duty.runs("puna/tiny"):
        duty.puna("deploy", "tiny.yaml")
    assert duty.runs("puna/tiny") == []


def test_somebody_is_told_of_a_refused_promotion(duty: Duty, told: Told) -> None:
    """As such a run ends. Of one that a schedule made less than five minutes before its time,
    Prefect holds all events back for fifteen (docs/decisions.md).
    """
    duty.puna("deploy", "tiny.yaml")
    id = duty.start("puna/tiny")
    refused = {"type": "COMPLETED", "name": "Not promoted", "message": "exam fell by 0.1 ± 0.02"}
    for state in ({"type": "RUNNING"}, refused):
        duty.ask(f"/flow_runs/{id}/set_state", {"state": state, "force": True})
    wait_for("a post", lambda: [post for post in told[1] if post["state"] == "Not promoted"], 60)
    (post,) = [post for post in told[1] if post["state"] == "Not promoted"]
    assert "exam fell by 0.1 ± 0.02" in post["text"] and id in post["url"]


@pytest.mark.parametrize(("overlap", "second"), [("skip", "Cancelled"), ("queue", "Completed")])
def test_what_a_run_does_that_is_due_while_another_runs(
    duty: Duty, overlap: str, second: str
) -> None:
    name = f"overlap-{overlap}"
    words = ["-s", f"name={name}", "--overlap", overlap, "--store", name]
    duty.puna("deploy", "tiny.yaml", *words)
    ids = [duty.start(f"puna/{name}") for _ in range(2)]
    with duty.working():
        runs = [duty.ended(id) for id in ids]
    assert sorted(run["state_name"] for run in runs) == sorted(["Completed", second])
    times = sorted((run["start_time"], run["end_time"]) for run in runs if run["start_time"])
    assert len(times) == 1 or times[0][1] <= times[1][0]  # one after the other


def test_a_stage_from_the_form_computes_nothing_before_it_again(duty: Duty) -> None:
    duty.puna("deploy", "tiny.yaml")
    store = Store.at(str(duty.folder / "store"))
    with duty.working():
        assert duty.ended(duty.start("puna/tiny"))["state_name"] == "Completed"
        again = duty.ended(duty.start("puna-stage/tiny-select", force=True))
    assert again["state_name"] == "Completed"
    assert re.fullmatch("tiny-[0-9a-f]{4}: only select", again["name"])
    results = {stage["stage"]: stage["result"] for stage in store.runs()[-1]["stages"]}
    assert results == {"ingest": "hit", "cut": "hit", "select": "built", "report": "hit"}


def test_maintenance_fails_where_a_file_is_damaged(duty: Duty) -> None:
    duty.puna("deploy", "tiny.yaml", "-s", "name=cared", "--store", "cared")
    with duty.working():
        assert duty.ended(duty.start("puna/cared"))["state_name"] == "Completed"
        assert duty.ended(duty.start("puna-maintenance/cared"))["state_name"] == "Completed"
        (artifact,) = (
            one for one in Store.at(str(duty.folder / "cared")).artifacts() if one.stage == "select"
        )
        file = Path(artifact.data.url, next(iter(artifact.files())))
        file.write_bytes(file.read_bytes()[:-1] + b"?")
        ended = duty.ended(duty.start("puna-maintenance/cared", what="verify"))
    assert ended["state_name"] == "Failed" and "--force select/letters" in ended["state"]["message"]


def test_credentials_are_refused_before_they_are_stored(duty: Duty) -> None:
    duty.puna("deploy", "tiny.yaml")
    address = "sources.letters.ingest.paths=[https://user:planted-word@host/x.jsonl]"
    with pytest.raises(urllib.error.HTTPError) as refused:
        duty.start("puna-stage/tiny-ingest", overrides=[address])
    assert refused.value.code in (409, 422)
    assert "planted-word" not in json.dumps(duty.ask("/flow_runs/filter", {}))


def test_a_server_with_a_password_answers_nobody_else(duty: Duty) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{duty.api_url}/admin/version", timeout=30)
    assert refused.value.code == 401
    health = urllib.request.urlopen(f"{duty.api_url}/health", timeout=30)  # for load balancers
    assert health.status == 200
