"""The demo's exams have every suite's files, in the publishers' layouts, and can be asked."""

from __future__ import annotations

import glob
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.benchmarks import suites
from tasks.benchmarks.model import Benchmark
from tasks.evaluation.items import questions

GENERATOR = Path(__file__).parents[2] / "configs" / "demo" / "exams.py"


def write(folder: Path, seed: int = 0) -> dict[str, bytes]:
    command = [sys.executable, str(GENERATOR), str(folder), "--seed", str(seed)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def exams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exams")
    write(folder)
    return folder


def found(patterns: tuple[str, ...]) -> list[Path]:
    return [Path(path) for pattern in patterns for path in sorted(glob.glob(pattern))]


@pytest.mark.parametrize("name", suites.names())
def test_every_task_of_a_suite_is_asked_with_its_worked_examples(name: str, exams: Path) -> None:
    for task in suites.suite(name).tasks:
        fields, missing = suites.benchmark(name, task, str(exams))
        assert not missing, missing
        benchmark = Benchmark.model_validate(fields)
        paths, dev = found(benchmark.paths), found(benchmark.dev)
        for protocol in benchmark.protocols:
            asked = questions(
                task,
                benchmark,
                benchmark.style_for(protocol),
                paths,
                dev,
                shots=benchmark.shots,
                limit=None,
                generated=protocol == "exact-match",
            )
            assert len(asked) >= 40, task


def test_same_seed_same_bytes_other_seed_other_exams(exams: Path, tmp_path: Path) -> None:
    again, other = write(tmp_path / "again"), write(tmp_path / "other", seed=1)
    assert again.keys() == other.keys()
    for name, data in again.items():
        assert (exams / name).read_bytes() == data and other[name] != data, name
