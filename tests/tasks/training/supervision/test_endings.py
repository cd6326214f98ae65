"""Who is blamed for the end of an attempt, what is said of memory, and where the time went."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.engine import forking
from tasks.training.distributed.ranks import is_lost_connection
from tasks.training.recipe.devices import Devices
from tasks.training.supervision import commands
from tasks.training.supervision.commands import (
    launched,
    rank_count,
    start_command,
    start_environment,
)
from tasks.training.supervision.endings import Ended, failure_of, waiting_for
from tasks.training.supervision.held_time import HeldTime
from tasks.training.supervision.memory_words import is_out_of_memory, less_memory, out_of_memory
from tasks.training.supervision.rank_record import RankRecord, rank_of_environment
from tasks.training.worker import _disk_full
from tests.tasks.training.toys import parameters

TORCHRUN = "E failed (exitcode: -9) local_rank: 1 (pid: 77) of binary: python"


def record(rank: int, ending: Any = "", reason: str = "", at: float = 0.0) -> RankRecord:
    return RankRecord(rank, 2, "host", 1, "training", ending, reason, at)


def ended(*records: RankRecord, **changes: Any) -> Ended:
    values = {"error": "", "returncode": 1, "tail": "", "expected": 2, "less_memory": "Lower it"}
    return Ended(records, **(values | changes))


def test_the_first_own_reason_counts_not_the_last_nor_the_loudest() -> None:
    failure = failure_of(
        ended(
            record(0, "unforeseen", "RuntimeError: late", at=9.0),
            record(1, "error", "the rows are cut", at=3.0),
            error="RuntimeError: late",
        )
    )
    assert (failure.kind, failure.rank) == ("again", 1)
    assert failure.reason == "rank 1 of 2 failed: the rows are cut"


@pytest.mark.parametrize(
    ("oom", "kind", "said"),
    [
        (1, "memory", "rank 1 of 2 was ended by signal 9: the kernel ended it because memory ran"),
        (0, "died", "no process ended for lack of memory, so somebody or something else killed"),
        (None, "died", "ended by signal 9, which usually means that memory ran out. Lower it"),
    ],
)
def test_a_killed_rank_is_told_from_those_that_lost_it(
    oom: int | None, kind: str, said: str
) -> None:
    lost = record(0, "lost", "gloo: Connection closed by peer")
    failure = failure_of(ended(lost, record(1), error=lost.reason, tail=TORCHRUN, oom_killed=oom))
    assert (failure.kind, failure.rank, failure.returncode) == (kind, 1, -9)
    assert said in failure.reason
    # torchrun names the first, also where it killed the others after it
    assert failure_of(ended(record(0), record(1), tail=TORCHRUN)).rank == 1


def test_ranks_that_were_asked_to_end_by_somebody_else_have_not_died() -> None:
    saved = record(0, "interrupted"), record(1, "interrupted")
    assert failure_of(ended(*saved)).kind == "outside"
    failure = failure_of(ended(*saved, returncode=-9))
    assert failure.kind == "died" and "command that started the ranks was ended" in failure.reason


def test_a_start_says_what_it_waits_for() -> None:
    here = RankRecord(0, 2, "host", 1, "loading"), RankRecord(1, 2, "host", 2, "started")
    said = waiting_for(here, 2, "srun -N2", 600.0)
    assert "under the launcher `srun -N2`: rank 1 of 2 have not found the other ranks" in said
    assert "within 600 s (devices.start_timeout)" in said


def test_the_command_stands_where_the_launcher_wants_it() -> None:
    assert launched(["srun", "-N2"], ["python", "a b"]) == ["srun", "-N2", "python", "a b"]
    assert launched(["x", "{command}", "y"], ["p", "q"]) == ["x", "p", "q", "y"]
    assert launched(["sh", "-c", "m; {command}"], ["p", "a b"]) == ["sh", "-c", "m; p 'a b'"]


def test_one_process_for_one_rank_and_torchrun_for_several(tmp_path: Path) -> None:
    one = Devices(kind="cpu")
    assert rank_count(one) == 1 and rank_count(Devices(launcher=("srun",))) is None
    alone = start_command(one, 1, tmp_path / "spec.json")
    assert alone[-2:] == ["tasks.training", str(tmp_path / "spec.json")]
    several = start_command(Devices(ranks=4), 4, tmp_path / "spec.json")
    assert "torch.distributed.run" in several and "--nproc-per-node=4" in several
    assert several[-len(alone) :] == alone


def test_gpus_are_counted_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "GPU_FILES", ("/dev/null",))
    monkeypatch.setattr(commands, "_ASK_TORCH", "print('warning'); print(3)")
    assert rank_count(Devices()) == 3 and rank_count(Devices(kind="cpu")) == 1
    assert rank_count(Devices(ranks=2)) == 2


def test_variables_of_another_launcher_are_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert rank_of_environment() == (3, 8)
    assert not {"RANK", "WORLD_SIZE"} & start_environment(2).keys()
    assert start_environment(2)["OMP_NUM_THREADS"] == "2"


def test_memory_that_runs_out_is_known_by_any_name_and_told_in_numbers() -> None:
    texts = ("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 9 bytes",)
    errors = [torch.OutOfMemoryError("x"), MemoryError(), *map(RuntimeError, texts)]
    assert all(map(is_out_of_memory, errors))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError(texts[0]))
    said = out_of_memory(parameters(micro_batch=8), "in step 7", "cuda:1", errors[2])
    assert said.startswith("memory ran out on cuda:1 in step 7 ([enforce fail")
    assert "8 rows of 32 tokens" in said and "lower training.micro_batch" in said
    assert "devices.offload: optimizer" in said and "train on more ranks" in said
    least = {"kind": "cpu", "shard": "none"}
    said = less_memory(parameters(micro_batch=1, devices=least))
    assert "micro_batch" not in said.split(":")[1] and "devices.shard: full" in said


def test_a_full_disk_and_a_lost_peer_are_known(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "metrics.jsonl"))
    assert "metrics.jsonl could not be written (No space left" in _disk_full(full, tmp_path)
    assert not _disk_full(OSError(errno.EIO, "bad"), tmp_path)
    assert is_lost_connection(torch.distributed.DistNetworkError("x"))
    assert is_lost_connection(RuntimeError("[..gloo/..] Connection closed by peer [::1]:4"))
    assert not is_lost_connection(RuntimeError("shapes differ"))


def test_time_is_counted_over_restarts_and_later_runs(tmp_path: Path) -> None:
    now = 0.0

    def step(number: int) -> None:
        nonlocal now
        now += 2.0
        lines = [
            json.dumps({"step": n, "step_s": 1.5, "checkpoint_s": 0.25})
            for n in range(1, number + 1)
        ]
        (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 9')

    held = HeldTime(tmp_path, lambda: now)
    held.begins(again=False)
    now += 10.0
    held.trains(0)
    for number in (1, 2, 3):
        step(number)
    now += 1.0  # until it is noticed
    held.failed()
    held.begins(again=True)
    now += 5.0
    held.trains(2)  # the third is done again
    step(3)
    held.count()
    later = HeldTime(tmp_path, lambda: now)  # another run, after a kill
    later.begins(again=False)
    now += 10.0
    later.trains(3)
    step(4)
    time = later.summary()
    assert (time["starts"], time["restarts"]) == (2, 1)
    assert time["held_s"] == 10 + 6 + 1 + 5 + 2 + 10 + 2
    assert time["steps_s"] == 4 * 1.5 and time["effective"] == 6 / 36
    assert time["lost_s"] == {
        "start": 20.0,
        "restart": 5.0,
        "redone_steps": 1.75,
        "checkpoint": 1.0,
        "other": pytest.approx(36 - 6 - 20 - 5 - 1.75 - 1),
    }
