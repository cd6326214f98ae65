"""What a plan repeats when a setting of vectors changes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from tests.small_base import write_base

RECIPE = """\
name: r
sources:
  web: {ingest: {format: jsonl, paths: [web.jsonl]}, category: web}
  apart: {ingest: {format: jsonl, paths: [web.jsonl]}, category: web, dedup: false}
  reference: {ingest: {format: jsonl, paths: [web.jsonl]}}
tokenizer: {base: base}
model: {base: base}
embeddings: {model: base}
semantic: {floor: 0.8, keep: "<0.9"}
"""


def versions(folder: Path, *changes: str) -> dict[str, str | None]:
    file = folder / "r.yaml"
    if not file.exists():
        file.write_text(RECIPE)
        (folder / "web.jsonl").write_text(json.dumps({"text": "some text"}))
        write_base(folder / "base")
    prepared = prepare(RunRequest.of(file, list(changes), store=str(folder / "store")))
    return {id: step.version for id, step in prepared.plan.steps.items()}


def changed(folder: Path, *changes: str) -> set[str]:
    before, after = versions(folder), versions(folder, *changes)
    return {id for id in before.keys() | after.keys() if before.get(id) != after.get(id)}


def test_what_is_compared_gets_vectors_and_what_is_not_none_of_the_rest(tmp_path: Path) -> None:
    found = versions(tmp_path)
    assert {"token_vectors/main", "embeddings/web", "embeddings/apart"} <= found.keys()
    assert "embeddings/reference" not in found
    prepared = prepare(RunRequest.of(tmp_path / "r.yaml", store=str(tmp_path / "store")))
    inputs = {id: step.node.inputs for id, step in prepared.plan.steps.items()}
    assert inputs["neighbours/main"]["embeddings"] == ("embeddings/web",)
    assert inputs["select/web"]["semantic"] == ("semantic/main",)
    assert inputs["select/web"]["embeddings"] == ("embeddings/web",)
    assert not {"dedup", "semantic", "embeddings"} & inputs["select/apart"].keys()


def test_a_source_without_vectors_is_in_dedup_all_the_same(tmp_path: Path) -> None:
    versions(tmp_path)
    text = f"{tmp_path}/web.jsonl"
    more = [f"sources.code={{ingest: {{format: jsonl, paths: [{text}]}}, category: web}}"]
    history = ["artifact:old/select/web@latest", "artifact:old/select/code@latest"]
    more += ["semantic.without=[code]", f"dedup={{history: {json.dumps(history)}}}"]
    request = RunRequest.of(tmp_path / "r.yaml", more, store=str(tmp_path / "store"))
    inputs = {id: step.node.inputs for id, step in prepare(request).plan.steps.items()}
    assert set(inputs["dedup/main"]["documents"]) == {"ingest/code", "ingest/web"}
    assert len(inputs["dedup/main"]["history"]) == 2
    for id in ("neighbours/main", "semantic/main"):
        assert inputs[id]["documents"] == ("ingest/web",)
        assert [reference.name for reference in inputs[id]["history"]] == ["web"]
    assert "embeddings/code" not in inputs
    assert "dedup" in inputs["select/code"]
    assert not {"semantic", "embeddings"} & inputs["select/code"].keys()


def test_a_changed_threshold_repeats_neither_vectors_nor_pairs(tmp_path: Path) -> None:
    repeated = changed(tmp_path, "semantic.keep=<0.95")
    assert {"semantic/main", "select/web"} <= repeated
    assert not {"token_vectors/main", "embeddings/web", "neighbours/main"} & repeated
    assert "neighbours/main" in changed(tmp_path, "semantic.floor=0.7")
    assert "embeddings/web" not in changed(tmp_path, "semantic.floor=0.7")
    assert "embeddings/web" in changed(tmp_path, "embeddings.smoothing=0.01")


def test_without_keep_pairs_are_found_and_nothing_is_dropped(tmp_path: Path) -> None:
    found = versions(tmp_path) and versions(tmp_path, "semantic.keep=null")
    assert "neighbours/main" in found and "semantic/main" not in found


def test_vectors_may_be_of_a_model_that_another_recipe_made(tmp_path: Path) -> None:
    versions(tmp_path)
    given = ["embeddings.model=artifact:other/model/main@latest", "model=null", "tokenizer=null"]
    request = RunRequest.of(tmp_path / "r.yaml", given, store=str(tmp_path / "store"))
    step = prepare(request).plan.steps["token_vectors/main"]
    assert "artifact:other/model/main@latest is not in the store" in step.why


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["semantic.keep=<0.7"], "keep is <0.7, but pairs below floor 0.8 are not searched"),
        (["semantic.keep=>0.9"], "does not keep what is far from others"),
        (["semantic.prefer=[length]"], "semantic.prefer: is set by the plan"),
        (
            ["semantic.without=[wep]"],
            "semantic.without: 'wep' is not in this recipe (did you mean 'web'?)",
        ),
        (["semantic.without=[web]"], "semantic.without: names every source that dedup compares"),
        (["embeddings=null"], "semantic: compares vectors, and the recipe makes none"),
        (["dedup=null", "select.heldout=null"], "semantic: compares what dedup leaves"),
        (["model=null", "tokenizer=null"], "is base, but the recipe has no model.base"),
        (["embeddings.windows=2"], "windows: of an encoder, and model is base"),
        (
            ["embeddings.model=web.jsonl", "embeddings.sample=9"],
            "sample: of model: base, and model is",
        ),
        (["embeddings.model=base-model"], "no file or folder matches"),
    ],
)
def test_what_cannot_work_is_refused_before_a_run(
    tmp_path: Path, changes: list[str], message: str
) -> None:
    versions(tmp_path)
    with pytest.raises(RecipeError) as refused:
        versions(tmp_path, *changes)
    assert message in str(refused.value)


def test_an_encoder_that_cannot_be_read_is_refused_before_a_run(tmp_path: Path) -> None:
    versions(tmp_path)
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text("{}")
    with pytest.raises(RecipeError) as refused:
        versions(tmp_path, f"embeddings.model={tmp_path}/encoder")
    assert "has neither model.safetensors nor" in str(refused.value)
    assert "embeddings.model" in str(refused.value)
