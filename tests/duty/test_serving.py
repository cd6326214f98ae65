"""`puna serve`: the schedule on one machine, with the server that starts by itself (SQLite)."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.store import Store
from tests.duty.conftest import write_tiny
from tests.duty.services import Duty, Service, alone, wait_for

pytestmark = [pytest.mark.duty, pytest.mark.timeout(900)]


@pytest.fixture
def duty(tmp_path: Path) -> Iterator[Duty]:
    """A machine with nothing but Puna."""
    write_tiny(tmp_path)
    with alone(tmp_path) as found:
        yield found
        assert "database is locked" not in found.logs()


def serving(duty: Duty, name: str) -> Service:
    """`puna serve` of the tiny recipe, due every minute; started."""
    puna = str(Path(sys.executable).with_name("puna"))
    service = Service(
        [puna, "serve", "tiny.yaml", "--cron", "* * * * *"],
        duty.environment,
        duty.folder,
        duty.folder / f"{name}.log",
    )
    service.start()
    return service


def states(duty: Duty) -> list[str]:
    """Of runs that are due or have been, oldest first."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    return [run["state_name"] for run in duty.runs("puna/tiny") if run["expected_start_time"] < now]


def test_a_run_comes_with_its_time_and_an_interrupt_ends_it_all(duty: Duty) -> None:
    started = time.monotonic()
    first = serving(duty, "first")
    try:
        wait_for("the server", lambda: "waiting for runs" in first.log.read_text(), 200)
        duty.find_server()
        wait_for("a scheduled run", lambda: "Completed" in states(duty), 300)
        print(f"a scheduled run has completed {time.monotonic() - started:.0f} s after the command")
        (done,) = (run for run in duty.runs("puna/tiny") if run["state_name"] == "Completed")
        assert done["auto_scheduled"]
        # ^C when the next run is about to start: it must not be in the way of the next
        wait_for("a run that starts", lambda: duty.processes() or None, 120)
        first.interrupt()
    finally:
        first.stop()
    ended = time.monotonic()
    wait_for("no process of a run", lambda: not duty.processes(), 60)
    wait_for("no run that is begun", lambda: not {*states(duty)} & {"Running", "Submitting"}, 90)
    print(f"^C: status {first.exit_status}; no run is begun after {time.monotonic() - ended:.0f} s")
    assert first.exit_status == 0
    completed = states(duty).count("Completed")
    second = serving(duty, "second")
    try:
        again = time.monotonic()
        wait_for("the next run", lambda: states(duty).count("Completed") > completed, 300)
        print(f"served again: a run has completed {time.monotonic() - again:.0f} s later")
        second.signal(signal.SIGKILL)
        wait_for("no run that is begun", lambda: not {*states(duty)} & {"Submitting"}, 120)
    finally:
        second.stop()
    assert {run["status"] for run in Store.at(str(duty.folder / "store")).runs()} <= {
        "completed",
        "interrupted",
    }
