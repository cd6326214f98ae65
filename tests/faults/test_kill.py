"""A run killed at random moments and started again ends with the same bytes, and leaves nothing
behind.

The suite kills twice, up to the first phase of training; `make duty` kills ten times, up to the
report (`PUNA_KILLS` sets another number).
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.store import Store
from tests.end_to_end.direct import digests
from tests.end_to_end.fixtures import Done, Puna, Running, SmallRun

pytestmark = pytest.mark.timeout(
    900
)  # the whole runs behind a first test take minutes on a busy machine

KILLS_ON_DUTY = int(os.environ.get("PUNA_KILLS", "10"))
End = Callable[[Running, Puna], None]
BEGUN = 5
"""Files that a run has written when its first stages are under way."""

LEFT_BEHIND_S = 120.0
"""Seconds at most until workers and the training process have noticed that their parent is gone:
usually one.
"""


@dataclass(frozen=True)
class Killed:
    """A run that was killed several times, and then ran to its end."""

    store: Store
    done: Done
    left_behind: list[str]
    moments: list[str]


def files_in(url: Path) -> int:
    """How many files a store holds, half-written ones too."""
    return sum(len(names) for _, _, names in os.walk(url))


def wait_for_files(running: Running, url: Path, count: int) -> bool:
    """Wait until a store holds so many files; False when the run ended before."""
    while running.process.poll() is None:
        if files_in(url) >= count:
            return True
        time.sleep(0.01)
    return False


def metrics(url: Path) -> set[tuple[Path, int]]:
    """Files of steps that training processes have done, with their sizes."""
    found = url.glob("training/*/*/*/scratch/training/metrics.jsonl")
    return {(path, size) for path in found if (size := path.stat().st_size)}


def wait_for_training(running: Running, url: Path) -> bool:
    """Wait until a training process has done a step; False when the run ended before."""
    before = metrics(url)
    while running.process.poll() is None:
        if metrics(url) - before:
            return True
        time.sleep(0.05)
    return False


def kill(puna: Puna, small_run: SmallRun, url: Path, kills: int, *words: str) -> Killed:
    """Kill a run so many times, and let it run to its end."""
    command = ("run", small_run.recipe, "--store", url, "--json", *words)
    left, moments = [], []
    for number in range(kills):
        running = puna.start(*command)
        if number < kills - 1:
            share = random.uniform(0.0, min(0.4, 1.2 / kills))
            more = BEGUN + int(share * files_in(small_run.url))
            if wait_for_files(running, url, files_in(url) + more):
                moments.append(f"group, {more} files later")
                running.kill_group()
        elif wait_for_training(running, url):  # the last time only the parent dies
            moments.append("parent only, in training")
            os.kill(running.process.pid, signal.SIGKILL)
            running.process.communicate()
        left += running.left_behind(LEFT_BEHIND_S)
    return Killed(Store.at(str(url)), puna(*command, timeout_s=600), left, moments)


@pytest.fixture(scope="module")
def killed(puna: Puna, small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    url = tmp_path_factory.mktemp("killed") / "store"
    return kill(puna, small_run, url, 2, "--until", "training/first")


def test_it_ends_with_the_bytes_of_an_uninterrupted_run(
    killed: Killed, small_run: SmallRun
) -> None:
    assert killed.done.returncode == 0, (killed.moments, killed.done.stderr)
    found = {f"{a.stage}/{a.name}": a for a in killed.store.artifacts()}
    whole = small_run.artifacts()
    ran = [id for id, result in killed.done.results().items() if result in ("built", "hit")]
    assert digests(found) == digests({id: whole[id] for id in ran})
    assert "training/first" in found, killed.moments


def test_nothing_is_left_behind(killed: Killed) -> None:
    assert killed.left_behind == [], killed.moments


def test_the_records_say_crashed(killed: Killed) -> None:
    *before, last = (record["status"] for record in killed.store.runs())
    assert last == "completed" and set(before) <= {"crashed", "completed"}, killed.moments
    assert "crashed" in before, killed.moments


def test_prefect_says_crashed(killed: Killed, puna: Puna) -> None:
    assert killed.done.returncode == 0
    runs = puna.flow_runs()
    states = {run["state"]["type"] for run in runs}
    assert "CRASHED" in states and not states & {"RUNNING", "PENDING", "SCHEDULED"}, killed.moments
    record = next(record for record in killed.store.runs() if record["status"] == "crashed")
    assert {run["id"]: run["state"]["type"] for run in runs}[record["flow_run_id"]] == "CRASHED"


@pytest.mark.duty
@pytest.mark.timeout(3600)
def test_many_kills_on_the_way_to_the_report(
    puna: Puna, small_run: SmallRun, tmp_path: Path
) -> None:
    killed = kill(puna, small_run, tmp_path / "store", KILLS_ON_DUTY)
    assert "report/small" in killed.done.results()
    test_it_ends_with_the_bytes_of_an_uninterrupted_run(killed, small_run)
    test_nothing_is_left_behind(killed)
    test_the_records_say_crashed(killed)
    test_prefect_says_crashed(killed, puna)


def terminate(running: Running, puna: Puna) -> None:
    running.process.send_signal(signal.SIGTERM)


def cancel(running: Running, puna: Puna) -> None:
    """What the dashboard's Cancel does."""
    run = next(run for run in puna.flow_runs() if run["parent_task_run_id"] is None)
    puna.ask(f"flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}})


@pytest.mark.parametrize(
    ("end", "state_name", "tokens"),
    # a run asks every three seconds whether it was cancelled, and must still train then
    [(terminate, "Interrupted", "60K"), (cancel, "Cancelled", "300K")],
)
def test_an_ended_run_stops_at_once_and_goes_on_later(
    puna: Puna, small_run: SmallRun, end: End, state_name: str, tokens: str
) -> None:
    longer = (
        f"training.phases.0.tokens={tokens}",
        "training.schedule.total=null",
        "training.max_epochs=500",
        "training.checkpoint_every=32K",  # not yet due: the checkpoint is made because the run ends
    )
    changes = [word for change in longer for word in ("-s", change)]
    command = (
        "run",
        small_run.recipe,
        "--store",
        small_run.url,
        *changes,
        "--until",
        "training/first",
    )
    running = puna.start(*command)
    assert wait_for_training(running, small_run.url), running.process.communicate()
    end(running, puna)
    _, stderr = running.process.communicate(timeout=240)
    assert running.process.returncode == 75, stderr
    assert "run the same command again" in stderr and running.left_behind(LEFT_BEHIND_S) == []
    states = small_run.url.glob("training/first/*/*/scratch/training/checkpoints/step-*/state.json")
    state = max((json.loads(path.read_text()) for path in states), key=lambda found: found["step"])
    assert (
        f"training/first has a checkpoint at step {state['step']:,} ({state['rows'] * 64:,} tokens "
        "of" in stderr
    ), stderr
    assert small_run.store.runs()[-1]["status"] == "interrupted"
    pipeline_and_stage = [run["state"]["name"] for run in puna.flow_runs()[:2]]
    assert pipeline_and_stage == [state_name, state_name]
    again = puna(*command, "--json")
    assert again.returncode == 0 and again.results()["training/first"] == "built", again.stderr
