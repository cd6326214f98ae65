"""Bits per byte of right answers, from samples of an evaluation."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from infra.stage import StageError
from tasks.benchmarks.model import Benchmark
from tasks.mixture.answers import answer_texts, bits_per_byte


def test_bits_are_of_the_right_answers_alone(tmp_path: Path) -> None:
    file = tmp_path / "exam.jsonl"
    rows = [
        {"question": "Capital of Iceland?", "choices": ["Oslo", "Reykjavík"], "answer": 1},
        {"question": "2 + 2?", "choices": ["4", "5"], "answer": 0},
        {"question": "Empty?", "choices": ["", "x"], "answer": 1},
    ]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    benchmark = Benchmark.model_validate({"format": "multiple-choice", "paths": [str(file)]})
    texts = answer_texts("exam", benchmark, [file], [])
    first, second, third = texts
    samples = [
        {"id": first, "answer": 1, "loglikelihoods": [-1.0, -6.0]},
        {"id": second, "answer": 0, "loglikelihoods": [-2.0, -9.0]},
        {"id": third, "answer": 1, "not_asked": "an empty choice"},
    ]
    lines = [json.dumps(sample) for sample in samples]
    size = len("Reykjavík".encode()) + 1
    assert size == 11
    assert bits_per_byte("exam", lines, texts) == pytest.approx(8 / math.log(2) / size)
    assert bits_per_byte("exam", lines[2:], texts) is None
    with pytest.raises(StageError, match="asked item 'gone', which its files do not have"):
        bits_per_byte("exam", [lines[0].replace(f'"{first}"', '"gone"')], texts)
