"""A training process that cannot go on says why in one sentence, leaves it in its record, and what
was saved is continued from.
"""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.training import worker
from tasks.training.distributed import parts
from tasks.training.model.loss import LossModel
from tasks.training.supervision.rank_record import RankRecord, read_records
from tests.tasks.training.toys import LENGTH, parameters, save_bins, save_model, spec


class Worker:
    """A spec, and the process that trains by it, run here."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root, self.model = root, save_model(root / "model")
        self.bins = save_bins(root / "bins", {"a": [40]}, **options)

    def train(self, capsys: pytest.CaptureFixture[str], **changes: Any) -> list[dict[str, Any]]:
        """The messages that it prints."""
        values = parameters(**{"checkpoint_every": "1 steps"} | changes)
        folder = str(self.root / "supervised")
        made = spec(self.root, self.model, self.bins, values, supervised=folder)
        made.write(self.root / "spec.json")
        capsys.readouterr()
        worker.main([str(self.root / "spec.json")])
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    def record(self) -> RankRecord:
        (record,) = read_records(self.root / "supervised")
        return record

    def fails(self, capsys: pytest.CaptureFixture[str], **changes: Any) -> str:
        """Its reason, which is one line, and stands in its record too."""
        error = str(self.train(capsys, **changes)[-1]["error"])
        assert error == self.record().reason and "\n" not in error
        return error


@pytest.fixture(autouse=True)
def _no_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.training.worker.exit_with_parent", lambda *_, **__: None)


Capture = pytest.CaptureFixture[str]


def test_data_of_another_tokenizer(tmp_path: Path, capsys: Capture) -> None:
    other = Worker(tmp_path, vocabulary=500)
    error = other.fails(capsys)
    assert "96" in error and "tokenizer" in error, error
    assert other.record().ending == "error"


def test_losses_that_are_not_numbers(tmp_path: Path, capsys: Capture) -> None:
    broken = Worker(tmp_path)
    file = broken.model / "model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"].fill_(float("nan"))
    save_file(weights, file, {"format": "pt"})
    assert "nan" in broken.fails(capsys).lower()
    assert broken.record().ending == "error"


def test_a_batch_smaller_than_a_row() -> None:
    with pytest.raises(ValueError, match="batch") as caught:
        parameters(batch=LENGTH // 2)
    assert str(LENGTH) in str(caught.value)


def test_a_disk_that_fills_during_a_checkpoint(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, written = Worker(tmp_path), []
    write = parts.write_parts

    def fill(path: Path, *rest: Any) -> None:
        written.append(path)
        if len(written) == 3:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(parts, "write_parts", fill)
        error = full.fails(capsys)
    assert "the checkpoint of step 3 could not be written" in error
    assert "No space left on device" in error and "Make room" in error
    assert "step-00000002, is intact and will be continued from" in error
    messages = full.train(capsys)
    assert {"training": {"step": 2}} in messages and messages[-1]["done"]["steps"] == 10
    assert full.record().ending == "done" and full.record().stage == "training"


def test_a_disk_that_is_full_where_no_checkpoint_is_written(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded", "output/model.safetensors")

    monkeypatch.setattr("tasks.training.loop.write_output", fail)
    error = Worker(tmp_path).fails(capsys)
    assert error.startswith("the disk is full: output/model.safetensors could not be written (Disk")


@pytest.mark.parametrize(
    ("name", "when"),
    [("accumulate", "in step 1"), ("training_model", "while the model was loaded")],
)
def test_memory_that_runs_out(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, name: str, when: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore")

    monkeypatch.setattr(f"tasks.training.loop.{name}", fail)
    short = Worker(tmp_path)
    error = short.fails(capsys)
    assert error.startswith(f"memory ran out on cpu {when} (CUDA out of memory. Tried to allocate")
    assert (
        "A micro-batch is 2 rows of 32 tokens, recompute is none: lower training.micro_batch"
        in (error)
    )
    assert short.record().ending == "memory"


def test_what_nobody_foresaw_is_a_traceback(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("no such layer")

    monkeypatch.setattr(LossModel, "forward", fail)
    odd = Worker(tmp_path)
    with pytest.raises(KeyError):
        odd.train(capsys)
    assert odd.record().ending == "unforeseen" and "KeyError" in odd.record().reason
