"""`evaluation.models` with models of elsewhere: one table, with paired differences."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from infra.engine import EngineConfig
from tests.end_to_end.direct import run_direct
from tests.end_to_end.world import jsonl, questions
from tests.small_base import write_base

pytestmark = pytest.mark.timeout(900)

INLINE = EngineConfig(kind="inline")


def base(folder: Path, **config: Any) -> None:
    """A base with a begin and an end token, without which the harness asks nothing."""
    write_base(folder, **config)
    tokens = {"bos_token": "piece 0", "eos_token": "piece 1"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens))


def recipe(folder: Path, name: str, **changes: Any) -> Path:
    jsonl(folder / "quiz.jsonl", questions())
    values = {
        "name": name,
        "benchmarks": {"quiz": {"format": "multiple-choice", "paths": ["quiz.jsonl"]}},
        "tokenizer": {"base": "base"},
        "model": {"base": "base"},
        "evaluation": {"models": ["model"], "tasks": ["quiz"]},
        **changes,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return folder / f"{name}.yaml"


def test_models_of_a_recipe_a_folder_and_another_recipe_stand_in_one_table(tmp_path: Path) -> None:
    base(tmp_path / "base")
    base(tmp_path / "v2", num_hidden_layers=2)
    run_direct(recipe(tmp_path, "v11"), tmp_path / "store", INLINE, until="model")
    models = [
        "base",
        {"name": "v11", "model": "artifact:v11/model/main@latest"},
        {"name": "v2", "model": "v2"},
    ]
    asked = {"models": models, "tasks": ["quiz"], "limit": {"per_group": 7}}
    file = recipe(tmp_path, "table", evaluation=asked)
    built = run_direct(file, tmp_path / "store", INLINE)
    rows = {id: made for id, made in built.items() if made.stage == "evaluation"}
    assert list(rows) == ["evaluation/base", "evaluation/v11", "evaluation/v2"]
    assert {made.statistics["scores"]["quiz"]["n"] for made in rows.values()} == {7}
    (given,) = rows["evaluation/v11"].manifest.inputs["model"]
    assert given.identity == built["model/main"].identity  # the same parameters and files
    numbers = json.loads(built["report/table"].path("summary.json").read_text())
    assert list(numbers["scores"]) == ["base", "v11", "v2"]
    assert set(numbers["changes"]) == {"v11", "v2"}
    _, _, paired = numbers["changes"]["v2"]["quiz"]["acc"]
    assert paired is True
    steps = prepare(RunRequest.of(file, store=str(tmp_path / "store"))).plan.steps.values()
    assert {step.state for step in steps} == {"hit"}


def test_a_recipe_may_only_compare_models_of_elsewhere(tmp_path: Path) -> None:
    base(tmp_path / "base")
    models = [{"name": "one", "model": "base"}]
    file = recipe(
        tmp_path,
        "alone",
        tokenizer=None,
        model=None,
        evaluation={"models": models, "tasks": ["quiz"], "limit": 3},
    )
    built = run_direct(file, tmp_path / "store", INLINE)
    assert list(built) == ["evaluation/one", "report/alone"]


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ([{"name": "base", "model": "base"}], "'base' is a model of this recipe; rename the other"),
        (
            ["model", {"name": "x", "model": "base"}, {"name": "x", "model": "b"}],
            "'x' is named twi",
        ),
        ([{"name": "x", "model": "artifact:v11/model"}], "x: .* is not artifact:RECIPE/STAGE/NAME"),
        (
            [{"name": "x", "model": "artifact:v11/tokenizer/main@latest"}],
            "x: an artifact of stage tokenizer is no model",
        ),
        ([{"name": "x", "model": "nowhere"}], r"r.yaml:\d+: .*nowhere: no file or folder matches"),
        (
            [{"name": "x", "model": "artifact:v/training/a@v1"}],
            "is not in the store .* make it fir",
        ),
        ([{"name": "x"}], r"evaluation.models.0.model: is required and missing"),
        (["modle"], r"'modle' is not in this recipe \(did you mean 'model'\?\)"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, models: list[Any], told: str) -> None:
    base(tmp_path / "base")
    file = recipe(tmp_path, "r", evaluation={"models": models, "tasks": ["quiz"]})
    with pytest.raises(RecipeError) as refused:
        prepare(RunRequest.of(file, store=str(tmp_path / "store"))).refuse_unresolved()
    assert re.search(told, str(refused.value)), str(refused.value)
