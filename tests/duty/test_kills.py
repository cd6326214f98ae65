"""kill -9 of a run, a worker and the server while a phase trains: what the dashboard says and when,
who is told, and where the next run goes on.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.store import Store
from tests.duty.conftest import Told
from tests.duty.services import Duty, wait_for
from tests.end_to_end.world import RECIPE, write_recipe, write_world

pytestmark = [pytest.mark.duty, pytest.mark.timeout(1800)]

STEPS = 100
"""Steps from one checkpoint to the next."""
RECIPE_ON_DUTY = (
    RECIPE.replace("total: 8K", "total: 804K")
    .replace("name: first, tokens: 4K", "name: first, tokens: 800K")
    .replace("checkpoint_every: 512", f"checkpoint_every: {512 * STEPS}")
    .replace("batch: 512", "batch: 512\n  max_epochs: 100000")
    .replace("evaluation:", "store: artifacts\nevaluation:")
)
SILENCE_S = 45
"""How long a run may be silent here; `puna deploy` says three minutes."""


@pytest.fixture(scope="module")
def store(duty: Duty) -> Iterator[Store]:
    """The store of a deployed recipe whose first phase trains for a minute and more."""
    write_world(duty.folder / "world", pages=24)
    write_recipe(duty.folder / "world", RECIPE_ON_DUTY)
    duty.puna("deploy", "world/small.yaml", "--store", "artifacts")
    shorten(duty, SILENCE_S)
    yield Store.at(str(duty.folder / "artifacts"))


def shorten(duty: Duty, seconds: int) -> None:
    """Make the automation that misses heartbeats less patient, for a quicker test."""
    (found,) = (
        one for one in duty.ask("/automations/filter", {}) if one["name"] == "puna: no heartbeat"
    )
    keys = ("name", "description", "enabled", "trigger", "actions")
    changed = {key: found[key] for key in keys}
    changed["trigger"]["within"] = seconds
    duty.ask(f"/automations/{found['id']}", changed, method="PUT")


def checkpoints(store: Store) -> set[tuple[str, int]]:
    """Version and step of the checkpoints of the phase that trains."""
    assert store.root.local_root is not None
    found = store.root.local_root.glob("training/first/*/*/scratch/training/checkpoints/step-*")
    return {
        (path.parts[-6], int(path.name.partition("-")[2]))
        for path in found
        if path.name.partition("-")[2].isdecimal()
    }


def begin(duty: Duty, store: Store, **parameters: Any) -> str:
    """Start a run; returns its id when the phase trains and has written a checkpoint, which must be
    later than those that runs before it wrote of the same version.
    """
    before = checkpoints(store)
    id = duty.start("puna/small", **parameters)
    new = wait_for("a checkpoint", lambda: checkpoints(store) - before, 300)
    version, step = min(new)
    last = max((at for of, at in before if of == version), default=0)
    print(f"a checkpoint at step {step}, after those up to step {last}")
    assert step > last
    return id


def stages_of(duty: Duty, id: str) -> dict[str, str]:
    """Names of the flow runs of a run's stages -> state."""
    found = duty.ask(
        "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [id]}}, "limit": 200}
    )
    return {run["name"].partition(": ")[2]: run["state_type"] for run in found}


def crashed(duty: Duty, id: str, killed: float, within_s: float) -> dict[str, Any]:
    """The run, when it is said to have crashed; prints after how long."""
    run = duty.ended(id, within_s)
    seconds = time.monotonic() - killed
    print(f"{run['state_name']} after {seconds:.0f} s: {run['state']['message']}")
    assert run["state_type"] == "CRASHED"
    return run


def leases(store: Store) -> list[Path]:
    assert store.root.local_root is not None
    return [*store.root.local_root.rglob("lease.json")]


def told_of(told: Told, state: str) -> int:
    return [post["state"] for post in told[1]].count(state)


def test_killed_runs_are_told_of_and_the_next_one_goes_on(
    duty: Duty, store: Store, told: Told
) -> None:
    # the run alone: its worker sees it
    worker = duty.worker("first")
    worker.start()
    id = begin(duty, store)
    os.kill(duty.process_of(id), signal.SIGKILL)
    killed = time.monotonic()
    print("kill -9 of the run: ", end="")
    run = crashed(duty, id, killed, within_s=60)
    wait_for("a post", lambda: told_of(told, "Crashed") == 1, 30)
    print(f"the webhook is told after {time.monotonic() - killed:.0f} s")
    assert told[1][-1]["run"] == run["name"] and f"/runs/flow-run/{id}" in told[1][-1]["url"]
    assert leases(store)  # of a process that is gone: the next run takes it
    # run and worker at once, as with the power: the server misses heartbeats
    id = begin(duty, store)
    assert "training/first" in stages_of(duty, id)
    process = duty.process_of(id)
    worker.signal(signal.SIGKILL)
    os.kill(process, signal.SIGKILL)
    killed = time.monotonic()
    print("kill -9 of run and worker: ", end="")
    run = crashed(duty, id, killed, within_s=SILENCE_S + 60)
    assert "no heartbeat" in run["state"]["message"]
    wait_for("a post", lambda: told_of(told, "Crashed") == 2, 30)
    print(f"the webhook is told after {time.monotonic() - killed:.0f} s")
    wait_for("its stage", lambda: stages_of(duty, id)["training/first"] == "CRASHED", 60)
    # the worker alone: the run goes on, and says how it ended
    worker = duty.worker("second")
    worker.start()
    id = begin(duty, store)
    worker.signal(signal.SIGKILL)
    # the server too: the run waits for it
    duty.server.signal(signal.SIGKILL)
    killed = time.monotonic()
    time.sleep(20)  # cards, logs and heartbeats have nowhere to go
    duty.server.start()
    wait_for("Prefect's server", duty.is_healthy, 120)
    print(
        f"kill -9 of worker and server: the server is back after {time.monotonic() - killed:.0f} s"
    )
    run = duty.ended(id, within_s=500)
    print(f"{run['state_name']} after {time.monotonic() - killed:.0f} s")
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert set(stages_of(duty, id).values()) == {"COMPLETED"}
    # it left nothing behind, and nobody was told of anything else
    assert not leases(store)
    assert told_of(told, "Crashed") == len(told[1]) == 2
    assert [run["status"] for run in store.runs()] == ["crashed", "crashed", "completed"]


def test_cancel_and_a_worker_that_is_stopped_let_training_write_a_checkpoint(
    duty: Duty, store: Store
) -> None:
    other = {"overrides": ["training.optimizer.lr=2e-3"]}
    worker = duty.worker("third")
    worker.start()
    id = begin(duty, store, **other)
    before = checkpoints(store)
    duty.ask(f"/flow_runs/{id}/set_state", {"state": {"type": "CANCELLING"}})
    asked = time.monotonic()
    run = duty.ended(id, within_s=90)
    print(f"Cancel: {run['state_name']} after {time.monotonic() - asked:.0f} s")
    assert run["state_type"] == "CANCELLED"
    assert {step % STEPS for _, step in checkpoints(store) - before} != {0}
    assert set(stages_of(duty, id).values()) <= {"CANCELLED", "COMPLETED"}
    # SIGTERM of worker and run, as a service manager sends it
    id = begin(duty, store, **other)
    before = checkpoints(store)
    assert worker.process is not None
    os.killpg(worker.process.pid, signal.SIGTERM)
    asked = time.monotonic()
    run = duty.ended(id, within_s=90)
    print(f"SIGTERM: {run['state_name']} after {time.monotonic() - asked:.0f} s:", end=" ")
    print(run["state"]["message"], stages_of(duty, id))
    worker.process.wait(60)
    assert {step % STEPS for _, step in checkpoints(store) - before} != {0}
    assert run["state_type"] == "CRASHED" and not duty.processes()


def test_a_container_that_is_stopped_writes_a_checkpoint(duty: Duty, store: Store) -> None:
    """Docker and Kubernetes tell its first process alone, which in the image is tini."""
    tini = shutil.which("tini")
    if tini is None:
        pytest.skip("needs tini (Debian: apt install tini)")
    worker = duty.worker("fourth", before=[tini, "-s", "-g", "--"])
    worker.start()
    id = begin(duty, store, overrides=["training.optimizer.lr=1e-3"])
    before = checkpoints(store)
    worker.signal(signal.SIGTERM)
    asked = time.monotonic()
    wait_for("the end of all processes", lambda: not duty.processes(), 100)
    print(f"its processes have ended after {time.monotonic() - asked:.0f} s")
    assert {step % STEPS for _, step in checkpoints(store) - before} != {0}
    run = duty.ended(id, within_s=200)
    print(f"{run['state_name']} after {time.monotonic() - asked:.0f} s: {run['state']['message']}")
