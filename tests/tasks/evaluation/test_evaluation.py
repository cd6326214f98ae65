"""The stage reproduces the harness's scores, reports groups, resumes, and raises clear errors."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.stage import StageError
from infra.store import Artifact
from tasks.benchmarks.model import Benchmark
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.hub import _samples
from tasks.evaluation.items import questions
from tasks.evaluation.measured import Spec
from tasks.evaluation.model import LoadedModel, load
from tasks.evaluation.stage import STAGE, EvaluationParameters, GroupLimit
from tests.stage_harness import run_stage


def write_items(path: Path, count: int, **more: Any) -> Benchmark:
    rows = [
        {
            "id": f"q{n}",
            "question": f"{n}加{n + 1}等于几？",
            "choices": [str(2 * n + k) for k in range(4)],
            "answer": 1,
            "group": ("known", "control", "leaked")[n % 3],
        }
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return Benchmark(format="multiple-choice", paths=(str(path),), language="zh", **more)


def do(
    checkpoint: Path, folder: Path, parameters: EvaluationParameters, **spec: Any
) -> dict[str, dict[str, Any]]:
    files = {name: list(benchmark.paths) for name, benchmark in parameters.benchmarks.items()}
    dev = {name: list(benchmark.dev) for name, benchmark in parameters.benchmarks.items()}
    dumped = parameters.model_dump(mode="json")
    return evaluate(
        Spec(str(checkpoint), dumped, files, dev, spec.get("heldout", {}), str(folder), 1),
        lambda done, total: None,
    )


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LoadedModel:
    return load(checkpoint, dtype="auto", device="cpu", max_length=None)


@pytest.mark.real
def test_scores_equal_the_harness_exactly(
    checkpoint: Path, real_data: Path, tmp_path: Path
) -> None:
    """ARC without and CMMLU with worked examples, compared with `lm_eval.simple_evaluate` and the
    harness's own templates.
    """
    import csv

    import datasets
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    arc = real_data / "benchmarks/llm-foundry/world_knowledge/arc_easy.jsonl"
    cmmlu = real_data / "benchmarks/cmmlu/test/anatomy.csv"
    cmmlu_dev = real_data / "benchmarks/cmmlu/dev/anatomy.csv"
    rows = [json.loads(line) for line in arc.read_text().splitlines()]
    arc_rows = [
        {
            "question": row["query"].removeprefix("Question: "),
            "choices": {"text": row["choices"], "label": list("ABCDE"[: len(row["choices"])])},
            "answerKey": "ABCDE"[row["gold"]],
        }
        for row in rows
    ]

    def table(path: Path) -> list[dict[str, Any]]:
        with path.open(encoding="utf-8-sig") as stream:
            return list(csv.DictReader(stream))

    cmmlu_rows, dev_rows = table(cmmlu), table(cmmlu_dev)
    own = Path(lm_eval.__file__).parent / "tasks"

    def theirs(file: Path, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        from lm_eval.tasks._yaml_loader import load_yaml

        config = load_yaml(file, resolve_func=True, recursive=True)
        for key in ("tag", "dataset_path", "dataset_name", "training_split", "validation_split"):
            config.pop(key, None)
        splits = {"test": rows, "dev": dev_rows}
        data = datasets.DatasetDict(
            {name: datasets.Dataset.from_list(split) for name, split in splits.items()}
        )
        config |= {"custom_dataset": lambda **_: data, **more}
        lm = HFLM(pretrained=str(checkpoint), device="cpu", batch_size=16)
        done = lm_eval.simple_evaluate(
            model=lm, tasks=[config], task_manager=TaskManager(include_defaults=False), limit=40
        )
        found: dict[str, Any] = done["results"][config["task"]]
        return found

    expected = {
        "arc_easy": theirs(own / "arc/arc_easy.yaml", arc_rows),
        "cmmlu": theirs(
            own / "cmmlu/cmmlu_anatomy.yaml", cmmlu_rows, description="", num_fewshot=2
        ),
    }
    benchmarks = {
        "arc_easy": Benchmark(format="arc", paths=(str(arc),)),
        "cmmlu": Benchmark(format="cmmlu", paths=(str(cmmlu),), dev=(str(cmmlu_dev),), shots=2),
    }
    results = do(checkpoint, tmp_path, EvaluationParameters(benchmarks=benchmarks, limit=40))
    for task, metrics in expected.items():
        for metric in ("acc", "acc_norm", "acc_stderr", "acc_norm_stderr"):
            assert results[task][metric] == metrics[f"{metric},none"], (task, metric)
    assert results["arc_easy"]["n"] == 40
    assert results["cmmlu/anatomy"]["acc"] == results["cmmlu"]["acc"]


def test_groups_and_samples_add_up_and_a_second_start_redoes_nothing(
    checkpoint: Path, tmp_path: Path
) -> None:
    benchmark = write_items(tmp_path / "q.jsonl", 31)
    heldout = tmp_path / "held.jsonl"
    heldout.write_text("".join(json.dumps({"target": f"text {n}"}) + "\n" for n in range(5)))
    parameters = EvaluationParameters(
        benchmarks={"puna-zh": benchmark},
        protocols=("harness", "first-token", "bits-per-byte"),
        limit=30,
    )
    results = do(checkpoint, tmp_path / "out", parameters, heldout={"web-zh": [str(heldout)]})
    assert list(results) == [
        "puna-zh",
        "puna-zh/known",
        "puna-zh/control",
        "puna-zh/leaked",
        "heldout/web-zh",
    ]
    samples = [
        json.loads(line)
        for line in (tmp_path / "out/data/samples/puna-zh.jsonl").read_text().splitlines()
    ]
    assert [sample["id"] for sample in samples] == [f"q{n}" for n in range(30)]
    for row, members in [
        ("puna-zh", samples),
        ("puna-zh/leaked", [s for s in samples if s["group"] == "leaked"]),
    ]:
        share = sum(s["correct"] for s in members) / len(members)
        assert results[row]["acc"] == pytest.approx(share)
        error = math.sqrt(share * (1 - share) / (len(members) - 1))
        assert results[row]["acc_stderr"] == pytest.approx(error)
        assert results[row]["n"] == len(members)
        assert 0 <= results[row]["first_token_acc"] <= 1
    for sample in samples:
        assert sample["correct"] == (sample["prediction"] == sample["answer"])
        assert sample["prediction"] == sample["loglikelihoods"].index(max(sample["loglikelihoods"]))
    first = (tmp_path / "out/data/samples/puna-zh.first-token.jsonl").read_text().splitlines()
    assert len(first) == 30
    assert results["heldout/web-zh"]["n"] == 5
    again = do(
        tmp_path / "no model is loaded",
        tmp_path / "out",
        parameters,
        heldout={"web-zh": [str(heldout)]},
    )
    assert again == results


def test_first_token_takes_the_largest_logit_of_each_letter(
    model: LoadedModel, tmp_path: Path
) -> None:
    import torch

    from tasks.evaluation import first_token

    benchmark = write_items(tmp_path / "q.jsonl", 7)
    asked = questions(
        "b", benchmark, benchmark.letters_style(), [tmp_path / "q.jsonl"], [], shots=0, limit=None
    )
    rows, samples, notes = first_token.score("b", asked, model, batch_size=3)
    for question, sample in zip(asked, samples, strict=True):
        with torch.inference_mode():
            logits = model.model(
                input_ids=torch.tensor([model.tokenizer.encode(question.prompt)])
            ).logits[0, -1]
        ids = [
            [model.tokenizer.encode(f"答案：{gap}{letter}")[-1] for gap in ("", " ")]
            for letter in "ABCD"
        ]
        expected = [float(max(logits[i] for i in pair)) for pair in ids]
        assert sample["logits"] == pytest.approx(expected, abs=2e-4)
        assert sample["prediction"] == expected.index(max(expected))
    assert rows["b"]["first_token_n"] == 7 and notes == []


def test_worked_examples_begin_the_prompt_and_too_few_are_an_error(
    checkpoint: Path, tmp_path: Path
) -> None:
    write_items(tmp_path / "dev.jsonl", 6)
    benchmark = write_items(tmp_path / "q.jsonl", 3, dev=(str(tmp_path / "dev.jsonl"),))
    style = benchmark.resolved_style()
    paths = [tmp_path / "q.jsonl"], [tmp_path / "dev.jsonl"]
    asked = questions("b", benchmark, style, *paths, shots=2, limit=1)
    shots = "问题：0加1等于几？\n答案： 1\n\n问题：3加4等于几？\n答案： 7\n\n"
    assert asked[0].prompt == f"{shots}问题：0加1等于几？\n答案："
    with pytest.raises(StageError, match="3 shots requested, but dev has 2 examples"):
        do(
            checkpoint,
            tmp_path / "out",
            EvaluationParameters(benchmarks={"b": benchmark}, shots={"b": 3}),
        )


def test_the_stage_publishes_results_and_shows_scores(checkpoint: Path, tmp_path: Path) -> None:
    benchmark = write_items(tmp_path / "q.jsonl", 6)
    parameters = EvaluationParameters(
        benchmarks={"puna-zh": benchmark}, model=str(checkpoint), decontaminated=("puna-zh",)
    )
    built: Artifact = run_stage(STAGE, parameters, name="base", tmp_path=tmp_path)
    assert built.files() == ["results.json", "samples/puna-zh.jsonl"]
    results = json.loads(built.path("results.json").read_text())
    assert built.statistics["scores"] == results
    assert results["puna-zh"]["n"] == 6
    assert built.statistics["decontaminated"] == {"puna-zh": True}


def test_tasks_and_groups_of_the_registry_get_a_row_each(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.tasks import TaskManager

    write_items(tmp_path / "q.jsonl", 9)
    for name in ("sums_one", "sums_two"):
        config = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {
                "data_files": {"test": str(tmp_path / "q.jsonl")},
                "cache_dir": str(tmp_path / "cache"),
            },
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "question",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        }
        (tmp_path / f"{name}.yaml").write_text(json.dumps(config))
    group = {
        "group": "sums",
        "task": ["sums_one", "sums_two"],
        "aggregate_metric_list": [{"metric": "acc", "aggregation": "mean", "weight_by_size": True}],
    }
    (tmp_path / "sums.yaml").write_text(json.dumps(group))
    manager = TaskManager(include_defaults=False, include_path=str(tmp_path))
    monkeypatch.setattr("tasks.evaluation.hub._task_manager", lambda task: manager)
    per_group = EvaluationParameters(hub=("sums",), limit=GroupLimit(per_group=4))
    chosen = do(checkpoint, tmp_path / "chosen", per_group)
    assert {row["n"] for name, row in chosen.items() if name != "sums"} == {4}
    results = do(checkpoint, tmp_path / "out", EvaluationParameters(hub=("sums",), limit=6))
    assert {"sums", "sums_one", "sums_two"} == set(results)
    assert [results[name]["n"] for name in ("sums_one", "sums_two", "sums")] == [6, 6, 12]
    assert results["sums"]["acc"] == pytest.approx(
        (results["sums_one"]["acc"] + results["sums_two"]["acc"]) / 2
    )


def test_hub_samples_hold_every_metric_of_every_filter() -> None:
    logged = [
        {"doc_id": item, "filter": name, "metrics": list(scores), **scores}
        for name, score in (("strict-match", 0.0), ("flexible-extract", 1.0))
        for item in (0, 1)
        for scores in [{"exact_match": score * item, "word_perplexity": (-12.5, 7)}]
    ]
    assert _samples("gsm8k", logged) == [
        {
            "task": "gsm8k",
            "id": f"{item}",
            "scores": {"exact_match,strict-match": 0.0, "exact_match,flexible-extract": item},
        }
        for item in (0, 1)
    ]


def test_errors_say_what_to_do(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = write_items(tmp_path / "q.jsonl", 3)
    with pytest.raises(StageError, match="no model to evaluate"):
        run_stage(STAGE, EvaluationParameters(benchmarks={"b": benchmark}), tmp_path=tmp_path)
    with pytest.raises(StageError, match=r"hub task 'arc_easy': its data could not be loaded"):
        do(checkpoint, tmp_path / "hub", EvaluationParameters(hub=("arc_easy",)))
    with pytest.raises(StageError, match="max_length 9999 exceeds the model's context of 256"):
        do(
            checkpoint,
            tmp_path / "long",
            EvaluationParameters(benchmarks={"b": benchmark}, max_length=9999),
        )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StageError, match=r"install lm-eval==0.4.13"):
        do(checkpoint, tmp_path / "bare", EvaluationParameters(hub=("arc_easy",)))
    with pytest.raises(
        ValueError, match=r"gsm8k is asked by exact-match only, and .* is \[harness\]"
    ):
        EvaluationParameters(benchmarks={"g": Benchmark(format="gsm8k", paths=("x",))})
    with pytest.raises(ValueError, match="questions without choices"):
        EvaluationParameters(benchmarks={"t": Benchmark(format="truthfulqa", paths=("x",))})


def test_a_training_node_can_import_every_module() -> None:
    """It has torch, transformers, pyarrow, numpy, safetensors, pydantic and PyYAML."""
    code = (
        "import sys\n"
        "for name in ('fsspec', 'datasets', 'prefect', 'lm_eval', 'pebble', 'accelerate'):\n"
        "    sys.modules[name] = None\n"
        "import tasks.evaluation.stage, tasks.evaluation.evaluate, tasks.evaluation.items, tasks.evaluation.hub\n"  # noqa: E501
        "import tasks.evaluation.__main__, tasks.evaluation.first_token, tasks.evaluation.bits_per_byte\n"  # noqa: E501
        "import tasks.evaluation.long_text\n"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root
    )
    assert done.returncode == 0, done.stderr[-2000:]
