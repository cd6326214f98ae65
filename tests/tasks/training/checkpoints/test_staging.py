"""Copies for a checkpoint that is written meanwhile, and the memory that they may take."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tasks.training.checkpoints import staging


def test_copies_are_apart_from_what_training_changes() -> None:
    tensors = {"a": torch.arange(6.0), "b": torch.tensor(3)}
    copies = staging.stage(tensors)
    assert copies is not None
    tensors["a"] += 1
    assert torch.equal(copies["a"], torch.arange(6.0)) and copies["b"] == 3


def test_copies_take_at_most_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {"a": torch.zeros(100, dtype=torch.float64)}
    for free, fits in ((1599, False), (1600, True), (None, True)):
        monkeypatch.setattr(staging, "free_memory_bytes", lambda free=free: free)
        assert (staging.stage(tensors) is not None) == fits


def test_free_memory_is_below_that_of_the_machine() -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal")) * 1024
    free = staging.free_memory_bytes()
    assert free is not None and 0 < free < total
