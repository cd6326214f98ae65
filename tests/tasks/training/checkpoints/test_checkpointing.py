"""How a rank that ends alone leaves the checkpoint that is being written."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tasks.training.checkpoints import checkpoint, checkpointing
from tasks.training.checkpoints.checkpointing import Checkpointer
from tasks.training.distributed.ranks import Ranks
from tasks.training.step.progress import Progress
from tests.tasks.training.forked import ended, start


def begin(folder: Path) -> Checkpointer:
    """A checkpoint of step 3 that is being written."""
    checkpointer = Checkpointer(folder, Ranks(token="t"), keep=2)
    optimizer: Any = SimpleNamespace(moments=dict)
    weights = {"w": torch.nn.Parameter(torch.ones(2))}
    checkpointer.save(Progress("fingerprint", step=3), weights, optimizer)
    return checkpointer


def begin_without_copies(ranks: Ranks, folder: Path) -> None:
    """As where memory is short; rank 1 dies before it has written its part."""
    checkpointing.stage = lambda tensors: None  # type: ignore[assignment]
    if ranks.rank == 1:
        checkpoint.write_rank = lambda *_: os._exit(9)  # type: ignore[assignment]
    optimizer: Any = SimpleNamespace(moments=dict)
    Checkpointer(folder, ranks, keep=2).save(Progress("fingerprint", step=3), {}, optimizer)


def close(checkpointer: Checkpointer, timeout_s: float) -> float:
    began = time.monotonic()
    checkpointer.close(timeout_s)
    return time.monotonic() - began


def test_the_parts_of_dead_ranks_are_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()
    monkeypatch.setattr(checkpointing, "OTHERS_S", 0.2)
    monkeypatch.setattr(checkpoint, "complete", lambda *_: never.wait(60))
    checkpointer = begin(tmp_path)
    assert 0.2 <= close(checkpointer, 60) < 30
    assert checkpointer.is_writing
    never.set()


def test_a_rank_finishes_its_own_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, slow = checkpoint.write_rank, threading.Event()

    def written_later(*args: Any) -> None:
        slow.wait(0.5)
        write(*args)

    monkeypatch.setattr(checkpoint, "write_rank", written_later)
    assert close(begin(tmp_path), 60) >= 0.5
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-00000003"]


def test_a_save_without_copies_ends_soon_after_a_rank_is_dead(tmp_path: Path) -> None:
    began = time.monotonic()
    assert ended(start(2, begin_without_copies, tmp_path), 60) == [1, 9]
    assert time.monotonic() - began < 60
    assert not checkpoint.checkpoints(tmp_path)
