"""The training processes of several ranks: killed, or failing alone, the others end by themselves,
and what was saved is continued from to the same bytes.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from infra.interrupts import INTERRUPTED
from tasks.training import worker
from tasks.training.checkpoints import checkpoint, checkpointing
from tasks.training.distributed import ranks
from tasks.training.model.loss import LossModel
from tasks.training.spec import Spec
from tests.tasks.training import forked
from tests.tasks.training.test_loop import files
from tests.tasks.training.toys import LENGTH, parameters, save_bins, save_model, spec

ENDS_S = 60.0
"""Time within which ranks end after one of them is dead, on a busy machine."""


def work(folder: Path) -> None:
    """The training process of a rank; what it prints goes to a file of its rank, and a file says
    when it has joined the others.
    """
    rank = os.environ["RANK"]

    def joining(*devices: Any) -> ranks.Ranks:
        found = join(*devices)
        (folder / f"joined-{rank}").touch()
        return found

    join, ranks.join = ranks.join, joining
    printed = io.StringIO()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # no parent's pipe
    with contextlib.redirect_stdout(printed):
        status = worker.main([str(folder / "spec.json")])
    (folder / f"printed-{rank}").write_text(printed.getvalue())
    os._exit(status)


def work_until_it_fails(folder: Path) -> None:
    """The same; on rank 1 the third forward pass of training (not of a probe) raises."""
    forward, passes = LossModel.forward, []

    def failing(model: LossModel, *batch: Any) -> Any:
        passes.extend([1] * model.training)
        if os.environ["RANK"] == "1" and len(passes) == 3:
            raise torch.OutOfMemoryError("simulated: tried to allocate 20.00 GiB")
        return forward(model, *batch)

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
    assert (
        "A micro-batch is 2 rows of 32 tokens, recompute is none: lower training.micro_batch"
        in message["error"]
    )
    saved = sorted(path.name for path in (tmp_path / "scratch/checkpoints").iterdir())
    assert saved == ["step-00000001", "step-00000002"]  # the second was still being written


def test_a_rank_that_waits_for_dead_ones_ends_when_it_is_told_to(tmp_path: Path) -> None:
    made = spec(
        tmp_path,
        save_model(tmp_path / "model"),
        save_bins(tmp_path / "bins", {"a": [8], "b": [8]}),
        parameters(tokens="8 rows"),
    )
    made.write(tmp_path / "spec.json")
    processes = forked.start_processes(2, work, tmp_path)
    processes[1].kill()
    time.sleep(3)  # rank 0 looks for it
    began = time.monotonic()
    processes[0].terminate()
    statuses = forked.ended(processes, ENDS_S)
    assert statuses[0] == INTERRUPTED and time.monotonic() - began < 20


def kill(processes: list[BaseProcess], made: Spec, draw: random.Random, pause_s: float) -> bool:
    """Kill one rank or all: while they start, at a moment of training within `pause_s` seconds, or
    as soon as one of the first three saves is seen. Whether in a save.
    """
    victims = processes if draw.random() < 0.5 else [draw.choice(processes)]
    checkpoints, log = Path(made.scratch, "checkpoints"), Path(made.scratch, "metrics.jsonl")
    begun, left = changed(log), set(checkpoints.glob(".step-*"))  # by runs before
    before, seen = draw.randrange(3), set[Path]()

    def is_saving() -> bool:
        saving = set(checkpoints.glob(".step-*")) - left
        seen.update(saving)
        return bool(saving) and len(seen) > before

    def wait(seconds: float, until: Callable[[], bool]) -> bool:
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up and any(process.is_alive() for process in processes):
            if until():
                return True
            time.sleep(0.0005)
        return False

    moment, saving = draw.random(), False
    if moment < 0.5:
        if saving := wait(ENDS_S, is_saving):
            time.sleep(draw.uniform(0, 0.01))
    else:
        if moment < 0.9:
            wait(ENDS_S, lambda: changed(log) != begun)
        wait(draw.random() * pause_s, lambda: False)
    for victim in victims:
        victim.kill()
    return saving


def changed(path: Path) -> int:
    """When a file was last written, in nanoseconds; 0 where there is none."""
    return path.stat().st_mtime_ns if path.exists() else 0


def ended_by_themselves(processes: list[BaseProcess], folder: Path) -> list[int | None]:
    """Exit statuses of ranks of which some were killed; None for one that does not end.

    Where not all had joined, the others wait for those that will never come. Launchers end them
    then, and so does this.
    """
    if len(list(folder.glob("joined-*"))) < len(processes):
        for process in processes:
            process.kill()
    statuses = forked.ended(processes, ENDS_S)
    for mark in folder.glob("joined-*"):
        mark.unlink()
    return statuses


def truncate_newest(made: Spec) -> bool:
    """Damage the newest checkpoint, unless it is the only one; whether that was done."""
    found = checkpoint.checkpoints(Path(made.scratch, "checkpoints"))
    if len(found) > 1:
        with checkpoint.tensor_files(found[-1])[-1].open("r+b") as damaged:
            damaged.truncate(2000)
    return len(found) > 1


def rows_of(made: Spec) -> list[tuple[int, dict[str, int], dict[str, int]]]:
    """Step, its rows and all drawn, by category, of each line of the log."""
    lines = Path(made.scratch, "metrics.jsonl").read_text().splitlines()
    return [(m["step"], m["rows"], m["drawn"]) for m in map(json.loads, lines)]


def kill_and_continue(
    root: Path, kills: int, seed: int, sizes: Sequence[int] = (2,), *, truncate: bool = False
) -> tuple[int, int, int]:
    """Train with ranks killed that often, and once undisturbed; (kills, in saves, of one rank).

    `sizes`: numbers of ranks, one after the other. `truncate`: halfway also damage the newest
    checkpoint.

    Raises:
        AssertionError: a rank did not end, other rows were drawn, or the results differ: in a bit,
            or with several numbers of ranks by more than rounding.
    """
    model, bins = save_model(root / "model"), save_bins(root / "bins", {"a": [30], "b": [20]})
    # The step is drawn again after each kill, so the phase is long enough for all of them.
    values = parameters(
        tokens=f"{20 * max(kills, 5)} rows",
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
    start, damaged = itertools.cycle(sizes), not truncate
    while killed < kills:
        processes = forked.start_processes(next(start), work, root / "parts")
        in_save = kill(processes, made, draw, whole_s / kills)
        statuses = ended_by_themselves(processes, root / "parts")
        assert None not in statuses, "a rank waits for a dead one"
        if set(statuses) == {0}:
            break
        killed += 1
        in_saves += in_save
        of_one += statuses.count(-signal.SIGKILL) < len(statuses)
        if not damaged and killed >= kills // 2:
            damaged = truncate_newest(made)
    else:
        size = next(start)
        assert forked.ended(forked.start_processes(size, work, root / "parts"), 600) == [0] * size
    assert damaged, "no two checkpoints were ever there"
    assert rows_of(made) == rows_of(whole)
    if set(sizes) == {2}:
        assert files(made.output) == files(whole.output)
    ours, expected = (
        load_file(Path(each.output, "checkpoint/model.safetensors")) for each in (made, whole)
    )
    for name, tensor in expected.items():
        assert torch.allclose(ours[name], tensor, rtol=0, atol=1e-5), name
    return killed, in_saves, of_one


def test_two_ranks_killed_and_run_again_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them within a save, both within a save, one of them between; `make ranks` kills 20
    times, wherever it may be.
    """
    # what is waited for of whoever is killed in vain
    monkeypatch.setattr(worker, "REASON_S", 1.0)
    monkeypatch.setattr(checkpointing, "OTHERS_S", 1.0)
    killed, in_saves, of_one = kill_and_continue(tmp_path, kills=3, seed=10)
    assert killed >= 2 and in_saves and of_one


def gather_without_rank_0(ranks_: ranks.Ranks) -> None:
    """Work of which the collective loses a rank: its neighbours notice, the rank beyond does not
    before they end.
    """

    def work() -> None:
        if ranks_.is_main:
            os.kill(os.getpid(), signal.SIGKILL)
        parts = [torch.zeros(1 << 16) for _ in range(ranks_.world_size)]
        torch.distributed.all_gather(parts, torch.zeros(1 << 16))

    ranks_.together(work)


def test_ranks_that_lose_one_within_work_do_not_wait_for_each_other(tmp_path: Path) -> None:
    statuses = forked.ended(forked.start(4, gather_without_rank_0), 30)
    assert statuses == [-signal.SIGKILL, 1, 1, 1]
