"""The training processes of several ranks: killed, or failing alone, the others end by themselves,
and what was saved is continued from to the same bytes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from tasks.training import worker
from tasks.training.loss import LossModel
from tasks.training.spec import Spec
from tests.tasks.training import forked
from tests.tasks.training.test_loop import files
from tests.tasks.training.toys import LENGTH, parameters, save_bins, save_model, spec

ENDS_S = 60.0
"""Time within which ranks end after one of them is dead, on a busy machine."""


def work(folder: Path) -> None:
    """The training process of a rank; what it prints goes to a file of its rank."""
    rank = os.environ["RANK"]
    printed = io.StringIO()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # no parent's pipe
    with contextlib.redirect_stdout(printed):
        status = worker.main([str(folder / "spec.json")])
    (folder / f"printed-{rank}").write_text(printed.getvalue())
    os._exit(status)


def work_until_it_fails(folder: Path) -> None:
    """The same; on rank 1 the third forward pass raises."""
    forward, passes = LossModel.forward, []

    def failing(*batch: Any) -> Any:
        passes.append(1)
        if os.environ["RANK"] == "1" and len(passes) == 3:
            raise torch.OutOfMemoryError("simulated: tried to allocate 20.00 GiB")
        return forward(*batch)

    LossModel.forward = failing  # type: ignore[method-assign]
    work(folder)


def test_a_rank_that_fails_alone_ends_the_others_with_its_reason(tmp_path: Path) -> None:
    model, bins = save_model(tmp_path / "model"), save_bins(tmp_path / "bins", {"a": [30]})
    made = spec(tmp_path, model, bins, parameters(checkpoint_every="1 steps"))
    made.write(tmp_path / "spec.json")
    began = time.monotonic()
    statuses = forked.ended(forked.start_processes(2, work_until_it_fails, tmp_path))
    assert statuses == [1, 1]
    assert time.monotonic() - began < ENDS_S
    message = json.loads((tmp_path / "printed-0").read_text().splitlines()[-1])
    assert "rank 1 of 2 failed: memory ran out on cpu in step 3" in message["error"]
    assert "A micro-batch is 2 rows of 32 tokens, recompute is none: lower training.micro_batch" in message["error"]
    saved = sorted(path.name for path in (tmp_path / "scratch/checkpoints").iterdir())
    assert saved == ["step-00000001", "step-00000002"]  # the second was still being written


def kill(processes: list[BaseProcess], made: Spec, draw: random.Random, whole_s: float) -> bool:
    """Kill one rank or all, at a moment drawn or as soon as a save is seen; whether in a save."""
    in_save = draw.random() < 0.5
    victims = processes if draw.random() < 0.5 else [draw.choice(processes)]
    checkpoints = Path(made.scratch, "checkpoints")
    give_up = time.monotonic() + (ENDS_S if in_save else draw.uniform(0.1, 1.0) * whole_s)
    seen = False
    while time.monotonic() < give_up and any(process.is_alive() for process in processes):
        if in_save and (seen := bool(list(checkpoints.glob(".step-*")))):
            time.sleep(draw.uniform(0, 0.01))
            break
        time.sleep(0.0005)
    for victim in victims:
        victim.kill()
    return seen


def kill_and_continue(root: Path, kills: int, seed: int) -> tuple[int, int, int]:
    """Train on two ranks killed that often, and once undisturbed; (kills, in saves, of one rank).

    Raises:
        AssertionError: the results differ in a bit, or a rank did not end.
    """
    model, bins = save_model(root / "model"), save_bins(root / "bins", {"a": [30], "b": [20]})
    # The step is drawn again after each kill, so the phase is long enough for all of them.
    values = parameters(
        tokens=f"{40 * max(kills, 5)} rows",
        batch=5 * LENGTH,
        max_epochs=99,
        checkpoint_every="2 steps",
    )
    whole, made = (spec(root / name, model, bins, values) for name in ("whole", "parts"))
    for each in (whole, made):
        each.write(Path(each.scratch).parent / "spec.json")
    began = time.monotonic()
    assert forked.ended(forked.start_processes(2, work, root / "whole"), 600) == [0, 0]
    whole_s = time.monotonic() - began
    draw, killed, in_saves, of_one = random.Random(seed), 0, 0, 0
    while killed < kills:
        processes = forked.start_processes(2, work, root / "parts")
        in_save = kill(processes, made, draw, whole_s / kills)
        statuses = forked.ended(processes, ENDS_S)
        assert None not in statuses, "a rank waits for a dead one"
        if statuses == [0, 0]:
            break
        killed += 1
        in_saves += in_save
        of_one += statuses.count(-signal.SIGKILL) == 1
    else:
        assert forked.ended(forked.start_processes(2, work, root / "parts"), 600) == [0, 0]
    assert files(made.output) == files(whole.output)
    return killed, in_saves, of_one


def test_two_ranks_killed_and_run_again_give_the_same_bytes(tmp_path: Path) -> None:
    """`make kills` does this 20 times and more."""
    killed, _, _ = kill_and_continue(tmp_path, kills=4, seed=1)
    assert killed >= 2
