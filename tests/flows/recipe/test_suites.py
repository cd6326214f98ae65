"""A suite that a recipe names becomes benchmarks, tasks and what decontamination searches for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from flows.cli.evaluating import folder_recipe
from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from flows.recipe.read import read_recipe
from tasks.benchmarks import suites
from tests.small_base import write_base

TINY = tuple(suites.suite("tinyllama").tasks)
FILES = {
    "hellaswag/hellaswag_val.jsonl": {
        "activity_label": "a",
        "ctx_a": "b",
        "ctx_b": "c",
        "endings": ["d", "e"],
        "label": 0,
    },
    "openbookqa/Main/test.jsonl": {
        "question": {"stem": "q", "choices": [{"text": t, "label": t} for t in "AB"]},
        "answerKey": "A",
    },
    "winogrande/dev.jsonl": {"sentence": "x _ y", "option1": "a", "option2": "b", "answer": "1"},
    "arc/ARC-Challenge/ARC-Challenge-Test.jsonl": {
        "question": {"stem": "q", "choices": [{"text": t, "label": t} for t in "AB"]},
        "answerKey": "B",
    },
    "arc/ARC-Easy/ARC-Easy-Test.jsonl": {
        "question": {"stem": "q", "choices": [{"text": t, "label": t} for t in "AB"]},
        "answerKey": "B",
    },
    "boolq/dev.jsonl": {"question": "q", "passage": "p", "answer": True},
    "piqa/valid.jsonl": {},
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a file of one item for each task of tinyllama, but piqa."""
    folder = tmp_path / "benchmarks"
    for name, row in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(row) + "\n")
    return folder


def with_piqa(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = {"goal": "g", "sol1": "a", "sol2": "b", "label": 0}
    pq.write_table(pa.Table.from_pylist([row]), folder / "piqa/validation-00000-of-00001.parquet")
    return folder


def recipe(tmp_path: Path, **sections: Any) -> Path:
    base = tmp_path / "base"
    if not base.exists():
        write_base(base)
    path = tmp_path / "r.yaml"
    written = {"name": "r", "model": {"base": "base"}, "tokenizer": {"base": "base"}} | sections
    path.write_text(yaml.safe_dump(written, allow_unicode=True))
    return path


def test_a_suite_stands_for_benchmarks_and_tasks(tmp_path: Path, data: Path) -> None:
    exam = {"format": "multiple-choice", "paths": ["exam.jsonl"]}
    path = recipe(
        tmp_path,
        benchmarks={"exam": exam, "piqa": None, "boolq": {"limit": 7}},
        decontaminate={"against": ["exam", "tinyllama"]},
        evaluation={"suite": "tinyllama", "data": "benchmarks", "tasks": ["exam"]},
    )
    found = read_recipe(path)
    tasks = tuple(task for task in TINY if task != "piqa")
    assert found.evaluation is not None and found.decontaminate is not None
    assert found.evaluation.tasks == (*tasks, "exam")
    assert found.decontaminate.against == ("exam", *tasks)
    boolq = found.benchmarks["boolq"]
    assert boolq.limit == 7 and boolq.paths == (str(data / "boolq/dev.jsonl"),)
    assert found.benchmarks["hellaswag"].resolved_metric() == "acc_norm"
    assert "piqa" not in found.benchmarks


def test_scores_are_marked_unless_the_suite_was_searched_for(tmp_path: Path, data: Path) -> None:
    with_piqa(data)
    (tmp_path / "web.jsonl").write_text(json.dumps({"text": "Once upon a time."}) + "\n")
    sections: dict[str, Any] = {
        "sources": {
            "web": {"ingest": {"format": "jsonl", "paths": ["web.jsonl"]}, "category": "web"}
        },
        "evaluation": {"suite": "tinyllama", "data": "benchmarks", "models": ["base"]},
    }
    for decontaminate, marked in (
        ({"against": ["tinyllama"]}, TINY),
        ({"against": ["boolq"]}, ("boolq",)),
    ):
        path = recipe(tmp_path, **sections, decontaminate=decontaminate)
        plan = prepare(RunRequest.of(path)).plan
        parameters = plan.steps["evaluation/base"].node.parameters
        assert parameters.decontaminated == marked  # type: ignore[attr-defined]


def refusal(path: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    return str(caught.value)


def test_what_is_wrong_with_a_suite_is_said_before_anything_is_read(
    tmp_path: Path, data: Path
) -> None:
    said = refusal(recipe(tmp_path, evaluation={"suite": "tiny-llama", "data": "benchmarks"}))
    assert "'tiny-llama' is no suite (did you mean 'tinyllama'?); there are: coloss" in said
    said = refusal(recipe(tmp_path, evaluation={"suite": "tinyllama"}))
    assert "name it with evaluation.data" in said
    said = refusal(recipe(tmp_path, evaluation={"data": "benchmarks"}))
    assert "evaluation.data: is read by evaluation.suite alone" in said
    said = refusal(recipe(tmp_path, decontaminate={"against": ["llama-1"]}))
    assert "llama-1 is a suite; name it with evaluation: {suite: llama-1, data: FOLDER}" in said


def test_missing_files_of_a_suite_are_planned_around_and_refused_by_a_run(
    tmp_path: Path, data: Path
) -> None:
    (tmp_path / "web.jsonl").write_text(json.dumps({"text": "Once upon a time."}) + "\n")
    path = recipe(
        tmp_path,
        sources={"web": {"ingest": {"format": "jsonl", "paths": ["web.jsonl"]}, "category": "w"}},
        evaluation={"suite": "tinyllama", "data": "benchmarks", "models": ["base"]},
    )
    found = prepare(RunRequest.of(path))
    step = found.plan.steps["evaluation/base"]
    assert step.state == "unresolved" and found.plan.steps["ingest/web"].state == "run"
    assert f"evaluation.suite: files of piqa are not in {data};" in step.why
    with pytest.raises(RecipeError) as caught:
        found.refuse_unresolved()
    said = str(caught.value)
    assert re.search(
        r"r\.yaml:\d+: evaluation\.suite: piqa needs \(piqa/valid\.jsonl, piqa/valid-labels", said
    )
    assert f"put it into {data}" in said and "benchmarks: {piqa: null}" in said
    assert "hellaswag" not in said, "what is there is not named"
    prepare(RunRequest.of(path, until_stage="select")).refuse_unresolved()
    found = prepare(RunRequest.of(path, ("evaluation.data=nowhere",)))
    with pytest.raises(RecipeError) as caught:
        found.refuse_unresolved()
    assert all(f"evaluation.suite: {task} needs (" in str(caught.value) for task in TINY)


def test_a_folder_is_evaluated_without_a_recipe(tmp_path: Path, data: Path) -> None:
    model = write_base(tmp_path / "My Model")
    written = folder_recipe(model, "tinyllama", data, "boolq, hellaswag", 5)
    assert written["name"] == "my-model" and written["evaluation"]["limit"] == 5
    path = tmp_path / "written.yaml"
    path.write_text(json.dumps(written))
    found = read_recipe(path)
    assert found.evaluation is not None
    assert set(found.evaluation.tasks) == {"boolq", "hellaswag"}
    (data / "boolq/dev.jsonl").write_text("{")
    for options, words in (
        ([str(model)], "--suite is missing"),
        ([str(model), "--suite", "tinyllama"], "--data is missing"),
        ([str(tmp_path), "--suite", "tinyllama", "--data", "x"], "has no config.json"),
        (
            [str(model), "--suite", "tinyllama", "--data", str(data), "--tasks", "mmlu"],
            "--tasks: mmlu is no task of suite tinyllama; it has: hellaswag",
        ),
        ([str(path), "--suite", "tinyllama"], "--suite is for the folder of a model"),
        (
            [str(model), "--suite", "tinylama", "--data", str(data)],
            "--suite: 'tinylama' is no suite (did you mean 'tinyllama'?)",
        ),
        ([str(model), "--suite", "tinyllama", "--data", "absent"], "--data: absent is no folder"),
        (
            [str(model), "--suite", "tinyllama", "--data", str(data)],
            "lacks files of 1 of 7 tasks (above); put them there, or leave these tasks out with "
            "--tasks hellaswag,openbookqa,winogrande,arc-challenge,arc-easy,boolq",
        ),
        (
            [str(model), "--suite", "tinyllama", "--data", str(data), "--limit", "0"],
            "--limit: 0 is no number of items",
        ),
        (
            [str(model), "--suite", "tinyllama", "--data", str(data), "--tasks", "boolq"],
            "error: benchmarks.boolq.paths: ",
        ),
    ):
        done = CliRunner().invoke(app, ["evaluate", *options])
        assert done.exit_code == 2 and words in done.output, (options, done.output)
        assert "recipe." not in done.output and ".yaml" not in done.output.replace(str(path), "")
