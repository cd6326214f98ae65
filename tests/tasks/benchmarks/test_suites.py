"""Every suite can be asked, has published figures, and says which files it needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.benchmarks import suites
from tasks.benchmarks.model import Benchmark
from tasks.benchmarks.scores import (
    asked_words,
    counting,
    published,
    score_words,
    sources_of,
)
from tasks.benchmarks.suites.__main__ import page


@pytest.mark.parametrize("name", suites.names())
def test_a_suite_is_complete(name: str) -> None:
    found = suites.suite(name)
    assert found.summary and found.source and found.published
    for task in found.tasks:
        fields, missing = suites.benchmark(name, task, "/no such folder")
        benchmark = Benchmark.model_validate(fields)
        data = suites.data_of(name, task)
        assert data is not None and data.get in missing and f"{task} needs" in missing
        assert benchmark.suite == name and benchmark.protocols and benchmark.bos == "auto"
        assert benchmark.resolved_metric(), "the metric that counts is named"
        assert bool(benchmark.shots) == bool(benchmark.dev)
        assert found.figures(task), "a task without a published figure is not of the table"
    for system, scores in found.published.items():
        assert set(scores) <= set(found.tasks), system
        assert all(0 < score <= 100 for score in scores.values())


def test_the_page_is_what_the_suites_say() -> None:
    text = Path(__file__).parents[3].joinpath("docs/suites.md").read_text(encoding="utf-8")
    assert text == "\n".join(page()) + "\n", "docs/suites.md is not what the suites say: make docs"


def test_the_first_complete_layout_is_taken_and_what_lacks_is_named(tmp_path: Path) -> None:
    fields, missing = suites.benchmark("llama-3-6b", "gsm8k", str(tmp_path))
    assert missing == (
        "gsm8k needs (gsm8k/test.jsonl, gsm8k/train.jsonl) or (gsm8k/main/test-*.parquet, "
        "gsm8k/main/train-*.parquet); get https://github.com/openai/grade-school-math (its folder "
        "data), or the Parquet files of the hub's openai/gsm8k (config main)"
    )
    (tmp_path / "gsm8k/main").mkdir(parents=True)
    (tmp_path / "gsm8k/main/test-00000-of-00001.parquet").touch()
    _, missing = suites.benchmark("llama-3-6b", "gsm8k", str(tmp_path))
    assert "(missing: gsm8k/main/train-*.parquet)" in missing
    (tmp_path / "gsm8k/main/train-00000-of-00001.parquet").touch()
    fields, missing = suites.benchmark("llama-3-6b", "gsm8k", str(tmp_path))
    assert not missing and fields["paths"] == [f"{tmp_path}/gsm8k/main/test-*.parquet"]
    fields, missing = suites.benchmark("llama-3-6b", "gsm8k", "s3://bucket/data")
    assert not missing and fields["paths"] == ["s3://bucket/data/gsm8k/test.jsonl"]


def test_published_figures_stand_beside_the_metric_that_they_are_of() -> None:
    about = {"shots": 0, "bos": True, "metric": "acc_norm", "suite": "tinyllama"}
    row = {"acc": 0.5, "acc_norm": 0.6, "acc_norm_stderr": 0.01, "n": 1000, "about": about}
    found = published([{}, row], "hellaswag", "acc_norm")
    assert found["TinyLlama v1.1 (2T tokens)"] == pytest.approx(0.6147)
    assert published([row], "hellaswag", "acc") == {} == published([row], "other", "acc_norm")
    assert counting(row) == ["acc_norm"] and counting({**row, "about": None}) == ["acc"]
    assert counting({"acc_norm": 0.5}) == ["acc_norm"]
    assert asked_words(row, "acc_norm") == "0 shots, BOS, harness"
    (source,) = sources_of([row, {"n": 1}, row])
    assert source.startswith("Published figures of suite tinyllama: model card of TinyLlama")
    assert score_words(row | {"chance": 0.25}, "acc_norm") == "0.600 ± 0.010"
    assert score_words(row | {"chance": 0.59}, "acc_norm") == "0.600 ± 0.010 (chance)"


@pytest.mark.real
def test_checksums_are_of_the_publishers_files(real_data: Path) -> None:
    import hashlib

    folder = real_data / "benchmarks"
    for data, file, path in (
        ("cmmlu", "dev/anatomy.csv", "cmmlu/dev/anatomy.csv"),
        ("ceval", "ceval-exam.zip", "ceval-official/ceval-exam.zip"),
        ("agieval", "gaokao-history.jsonl", "agieval/v1/gaokao-history.jsonl"),
    ):
        found = hashlib.sha256((folder / path).read_bytes()).hexdigest()
        assert suites.data_set(data).checksums[file] == found


def test_a_file_of_another_version_is_refused_and_another_number_of_items_told(
    tmp_path: Path,
) -> None:
    import hashlib

    from infra.remote.access import Access
    from infra.stage import Pin
    from tasks.evaluation.check import faults
    from tasks.evaluation.stage import EvaluationParameters

    path = tmp_path / "arc" / "arc_easy.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps({"query": "Question: q", "choices": ["a", "b"], "gold": 0}) + "\n")
    fields, missing = suites.benchmark("tinyllama", "arc-easy", str(tmp_path))
    assert not missing
    parameters = EvaluationParameters(benchmarks={"arc-easy": Benchmark.model_validate(fields)})
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    pin = Pin(str(path), path.name, sha256, path.stat().st_size)
    (fault,) = faults(parameters, {"benchmarks.arc-easy.paths": (pin,)}, Access(tmp_path / "c"))
    expected = suites.data_set("arc-easy").checksums["arc_easy.jsonl"]
    assert fault.certain and sha256 in fault.what and expected in fault.what
    other = path.with_name("ARC-Easy-Test.jsonl")
    path.rename(other)
    pin = Pin(str(other), other.name, sha256, other.stat().st_size)
    (fault,) = faults(parameters, {"benchmarks.arc-easy.paths": (pin,)}, Access(tmp_path / "c"))
    assert not fault.certain and "numbers of items: arc-easy of 2,376 (here 1)" in fault.what
