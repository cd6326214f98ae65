"""A deployed recipe: schedules, backlogs, reruns from the form, kills, and who is told."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import os
import re
import signal
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.store import Store
from tests.duty.services import Duty, on_duty, wait_for
from tests.end_to_end.world import write_recipe, write_world

pytestmark = [pytest.mark.duty, pytest.mark.timeout(1800)]

TINY = """\
name: tiny
store: store
engine: {kind: inline}
sources:
  letters:
    ingest: {format: jsonl, paths: [letters.jsonl]}
    category: letters
dedup: null
select: {heldout: null}
"""
MISSED = 50


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook's address, and what was posted to it."""
    posts: list[dict[str, Any]] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/secret-path", posts
        server.shutdown()


@pytest.fixture(scope="module")
def duty(
    tmp_path_factory: pytest.TempPathFactory, told: tuple[str, list[dict[str, Any]]]
) -> Iterator[Duty]:
    folder = tmp_path_factory.mktemp("duty")
    (folder / "tiny.yaml").write_text(TINY)
    letters = [{"text": f"Letter {number} from Arlow. " * 20} for number in range(20)]
    (folder / "letters.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in letters))
    write_world(folder / "world", pages=24)
    write_recipe(folder / "world")
    with on_duty(folder) as found:
        found.environment["PUNA_WEBHOOK_URL"] = told[0]
        yield found
        logs = "".join(path.read_text(errors="replace") for path in folder.glob("*.log"))
        assert "database is locked" not in logs


@contextlib.contextmanager
def working(duty: Duty) -> Iterator[None]:
    """While a worker runs."""
    worker = duty.worker()
    worker.start()
    try:
        yield
    finally:
        worker.stop()


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
    with working(duty):
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
    duty.puna("deploy", "tiny.yaml")
    found = duty.deployment("puna/tiny")
    assert found["id"] == id and found["schedules"] == []
    assert duty.runs("puna/tiny") == []


def test_a_stage_from_the_form_computes_nothing_before_it_again(duty: Duty) -> None:
    duty.puna("deploy", "tiny.yaml")
    store = Store.at(str(duty.folder / "store"))
    with working(duty):
        assert duty.ended(duty.start("puna/tiny"))["state_name"] == "Completed"
        again = duty.ended(duty.start("puna-stage/tiny-select", force=True))
    assert again["state_name"] == "Completed"
    assert re.fullmatch("tiny-[0-9a-f]{4}: only select", again["name"])
    results = {stage["stage"]: stage["result"] for stage in store.runs()[-1]["stages"]}
    assert results == {"ingest": "hit", "cut": "hit", "select": "built", "report": "hit"}


def test_maintenance_fails_where_a_file_is_damaged(duty: Duty) -> None:
    duty.puna("deploy", "tiny.yaml", "-s", "name=cared", "--store", "cared")
    with working(duty):
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


def process_of(duty: Duty) -> int:
    """The process of the one run that workers have started."""
    found = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists() and b"prefect.engine" in path.read_bytes()
        if f"PREFECT_HOME={duty.environment['PREFECT_HOME']}".encode()
        in (path.parent / "environ").read_bytes()
    ]
    assert len(found) == 1, found
    return found[0]


def test_killed_runs_are_told_of_and_the_next_one_goes_on(
    duty: Duty, told: tuple[str, list[dict[str, Any]]]
) -> None:
    duty.puna("deploy", "world/small.yaml")
    shorten(duty, seconds=45)
    store = Store.at(str(duty.folder / "artifacts"))

    def begun() -> str:
        """A run that has built something."""
        id = duty.start("puna/small")
        built = sum(1 for _ in store.artifacts())
        wait_for("first artifacts", lambda: sum(1 for _ in store.artifacts()) > built, 240)
        return id

    worker = duty.worker("first")
    worker.start()
    # the run alone: its worker sees it
    id = begun()
    os.kill(process_of(duty), signal.SIGKILL)
    assert duty.ended(id, within_s=60)["state_type"] == "CRASHED"
    # worker and run, as with the power: heartbeats are missing
    id = begun()
    process = process_of(duty)
    worker.signal(signal.SIGKILL)
    os.kill(process, signal.SIGKILL)
    crashed = duty.ended(id, within_s=180)
    assert crashed["state_type"] == "CRASHED" and "no heartbeat" in crashed["state"]["message"]
    # the server: the run waits for it
    with working(duty):
        id = begun()
        duty.server.signal(signal.SIGKILL)
        duty.server.start()
        wait_for("Prefect's server", duty.is_healthy, 120)
        assert duty.ended(id, within_s=400)["state_type"] == "COMPLETED"
    wait_for("two posts", lambda: [post["state"] for post in told[1]].count("Crashed") >= 2, 60)
    assert all("/runs/flow-run/" in post["url"] for post in told[1])
    assert not [run for run in store.runs() if run["status"] == "running"]


def shorten(duty: Duty, seconds: int) -> None:
    """Make the automation that misses heartbeats less patient, for a quicker test."""
    (found,) = (
        one for one in duty.ask("/automations/filter", {}) if one["name"] == "puna: no heartbeat"
    )
    keys = ("name", "description", "enabled", "trigger", "actions")
    changed = {key: found[key] for key in keys}
    changed["trigger"]["within"] = seconds
    duty.ask(f"/automations/{found['id']}", changed, method="PUT")
