"""Two real ranks under torchrun and the stage's supervision: one is killed, or puna itself is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tasks.training.supervision import commands
from tasks.training.supervision.rank_record import read_records
from tasks.training.supervision.supervise import Listener, Supervisor
from tests.tasks.training import forked
from tests.tasks.training.distributed.test_rank_failures import work
from tests.tasks.training.test_loop import files
from tests.tasks.training.toys import parameters, save_bins, save_model, spec

ROOT = Path(__file__).resolve().parents[4]
ENDS_S = 120.0
"""On a busy machine."""


@pytest.mark.duty  # 40 s of imports; `make ranks` kills sixty times
@pytest.mark.timeout(900)
def test_a_rank_that_is_killed_costs_nothing_but_time(tmp_path: Path) -> None:
    """The ranks start again from the last checkpoint, and the result has the same bytes."""
    model, bins = save_model(tmp_path / "model"), save_bins(tmp_path / "bins", {"a": [30]})
    values = parameters(
        tokens="160 rows",
        max_epochs=99,
        checkpoint_every="8 steps",
        devices={"ranks": 2, "kind": "cpu"},
    )
    whole, made = (spec(tmp_path / name, model, bins, values) for name in ("whole", "parts"))
    for each in (whole, made):
        each.write(Path(each.scratch).parent / "spec.json")
    assert forked.ended(forked.start_processes(2, work, tmp_path / "whole"), 600) == [0, 0]

    scratch, restarts = Path(made.scratch), []
    scratch.mkdir()

    def kill_one() -> None:
        give_up = time.monotonic() + ENDS_S
        while not list((scratch / "checkpoints").glob("step-*")) and time.monotonic() < give_up:
            time.sleep(0.005)
        (folder,) = (scratch / "ranks").iterdir()
        os.kill(read_records(folder)[1].pid, signal.SIGKILL)

    threading.Thread(target=kill_one).start()
    listener = Listener(lambda metrics: None, restarts.append, lambda: False)
    given = json.loads((tmp_path / "parts/spec.json").read_text())
    supervisor = Supervisor(values, given, scratch, 1, listener)
    done = supervisor.train()
    assert len(restarts) == 1 and restarts[0].startswith("rank 1 of 2 was ended by signal 9")
    assert done["time"]["restarts"] == 1 and done["steps"] == 40
    assert files(made.output) == files(whole.output)


RANK = """
import os, sys, time
from infra.engine.launch import exit_with_parent
exit_with_parent()
open(f"{sys.argv[1]}/{os.environ['RANK']}", "w").write(str(os.getpid()))
time.sleep(600)
"""
PARENT = """
import os, sys
from infra.engine.group import ProcessGroup
group = ProcessGroup(sys.argv[1:], {**os.environ})
while True:
    group.line(1.0)
"""


def test_no_rank_of_torchrun_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    rank = [sys.executable, "-c", RANK, str(tmp_path)]
    words = [*commands.torchrun(2), *rank]
    environment = {**commands.start_environment(1), "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": ""}
    with subprocess.Popen([sys.executable, "-c", PARENT, *words], env=environment) as parent:
        give_up = time.monotonic() + ENDS_S
        while len(list(tmp_path.iterdir())) < 2:
            assert parent.poll() is None and time.monotonic() < give_up
            time.sleep(0.05)
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) >= 3
        parent.kill()
    _, alive = psutil.wait_procs(family, timeout=ENDS_S)
    assert not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
