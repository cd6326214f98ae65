"""What cannot be asked is said before the weights are read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.remote.access import Access
from infra.stage import Fault, Pin, StageError
from tasks.benchmarks.model import Benchmark
from tasks.benchmarks.styles import Generation
from tasks.evaluation.check import faults
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.measured import Spec
from tasks.evaluation.model import load
from tasks.evaluation.stage import EvaluationParameters


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def pins(*paths: Path) -> tuple[Pin, ...]:
    return tuple(Pin(str(path), path.name, "", path.stat().st_size) for path in paths)


def found(checkpoint: Path, questions: Path, benchmark: Benchmark, tmp_path: Path) -> list[Fault]:
    given = {
        "model": pins(*sorted(checkpoint.iterdir())),
        "benchmarks.b.paths": pins(questions),
    }
    parameters = EvaluationParameters(benchmarks={"b": benchmark}, model=str(checkpoint))
    return list(faults(parameters, given, Access(tmp_path / "cache")))


def exam(tmp_path: Path, *words: int) -> Path:
    rows = [{"question": "rain " * n, "choices": ["yes", "no"], "answer": 0} for n in words]
    return lines(tmp_path / "q.jsonl", rows)


def test_prompts_longer_than_the_context(checkpoint: Path, tmp_path: Path) -> None:
    path = exam(tmp_path, 2, 3)
    benchmark = Benchmark(format="multiple-choice", paths=(str(path),))
    assert found(checkpoint, path, benchmark, tmp_path) == []
    (fault,) = found(checkpoint, exam(tmp_path, 2, 300), benchmark, tmp_path)
    assert not fault.certain and fault.parameter == "model"
    assert "b (harness): the longest prompt has" in fault.what and "counted as cut" in fault.what
    (fault,) = found(checkpoint, exam(tmp_path, 300, 400), benchmark, tmp_path)
    assert fault.certain and "every prompt is longer than the 256 tokens" in fault.what


def test_answers_that_leave_no_room(checkpoint: Path, tmp_path: Path) -> None:
    path = lines(tmp_path / "q.jsonl", [{"question": "1+1?", "answer": "#### 2"}])
    benchmark = Benchmark(
        format="gsm8k",
        paths=(str(path),),
        protocols=("exact-match",),
        generation=Generation(tokens=256, extract="number"),
    )
    (fault,) = found(checkpoint, path, benchmark, tmp_path)
    assert fault.certain
    assert "tokens 256 leaves no room for a prompt in the context of 256 tokens" in fault.what


def test_an_evaluation_asks_the_tokenizer_before_it_reads_weights(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "no weights"
    shutil.copytree(checkpoint, folder)
    (folder / "model.safetensors").write_bytes(b"broken")
    path = exam(tmp_path, 300)
    benchmark = Benchmark(format="multiple-choice", paths=(str(path),))
    dumped = EvaluationParameters(benchmarks={"b": benchmark}).model_dump(mode="json")
    spec = Spec(str(folder), dumped, {"b": [str(path)]}, {}, {}, str(tmp_path / "out"), 1)
    with pytest.raises(StageError, match="every prompt is longer"):
        evaluate(spec, lambda done, total: None)
    exam(tmp_path, 3)
    with pytest.raises(StageError, match="cannot be loaded"):
        evaluate(spec, lambda done, total: None)


def test_a_model_that_memory_has_no_room_for_is_not_called_damaged(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("Cannot allocate memory (os error 12)")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", full)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        load(checkpoint, dtype="auto", device="cpu", max_length=None)
