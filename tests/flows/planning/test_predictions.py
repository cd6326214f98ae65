"""Recipes without weights are planned and not run; sizes come from what can be read."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tests.small_base import write_base

RECIPES = Path(__file__).resolve().parents[2] / "benchmarks" / "predictions"

SKETCH = """
name: sketch
model: {shape: tinyllama-1.1b}
binning: {sequence_length: 2048}
training:
  batch: 1M
  precision: bf16
  hardware: {accelerator: A100-80G, count: 8}
  phases: [{name: one, tokens: 1B, mixture: {zh: 0.5, en: rest}}]
"""

WHOLE = """
name: whole
sources: {zh: {ingest: {format: jsonl, paths: [text.jsonl]}, category: zh}}
tokenizer: {base: BASE, expand: {size: 300, from: [zh]}}
model: {base: BASE, pad_to_multiple_of: 64}
binning: {sequence_length: 64}
training:
  batch: 64K
  phases: [{name: one, tokens: 1M}]
"""


UNREACHABLE = "org/base"
"""A model of the hub, which tests do not reach (HF_HUB_OFFLINE)."""


def puna(tmp_path, text, *words, command="plan"):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    (tmp_path / "text.jsonl").write_text('{"text": "one"}\n')
    return CliRunner().invoke(app, [command, str(file), "--store", str(tmp_path / "s"), *words])


def planned(tmp_path, text, *words):
    done = puna(tmp_path, text, "--json", *words)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def base_in(tmp_path, **changes):
    return WHOLE.replace("BASE", str(write_base(tmp_path / "base", **changes)))


def test_a_shape_is_enough_to_plan_and_not_to_run(tmp_path):
    found = planned(tmp_path, SKETCH)
    assert found["training"]["parameters"] == 1_100_048_384
    assert found["phases"][0]["cost"]["seconds"] > 0
    shown = puna(tmp_path, SKETCH)
    assert "1B tokens, 488,281 rows of 2,048" in shown.stdout
    refused = puna(tmp_path, SKETCH, command="run")
    assert refused.exit_code == 2
    assert "model.shape" in refused.stderr and "state model.base" in refused.stderr


def test_a_shape_with_sources_leaves_the_model_unresolved(tmp_path):
    text = WHOLE.replace("{base: BASE, pad", "{shape: tinyllama-1.1b, pad")
    text = text.replace("BASE", UNREACHABLE)
    found = planned(tmp_path, text)
    states = {f"{s['stage']}/{s['name']}": s for s in found["stages"]}
    assert states["model/main"]["result"] == "unresolved"
    assert states["training/one"]["result"] == "unresolved"
    assert found["phases"][0]["tokens"] == 1_000_000 // 64 * 64
    refused = puna(tmp_path, text, command="run")
    assert refused.exit_code == 2 and "has no weights to train" in refused.stderr


def test_a_base_that_cannot_be_read_needs_a_shape(tmp_path):
    text = WHOLE.replace("BASE", UNREACHABLE)
    assert "state model.shape" in planned(tmp_path, text)["training"]["unpredicted"]
    shaped = text.replace("pad_to", "shape: tinyllama-1.1b, pad_to")
    assert planned(tmp_path, shaped)["training"]["vocabulary"] == 320  # 300, padded


def test_sizes_come_from_the_base_and_what_the_recipe_changes(tmp_path):
    text = base_in(tmp_path).replace("pad_to", "layers: {first: 4}, pad_to")
    per_layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32
    found = planned(tmp_path, text)["training"]
    assert found["parameters"] == 2 * 320 * 32 + 4 * per_layer + 32


def test_a_base_of_another_kind_is_told(tmp_path):
    found = planned(tmp_path, base_in(tmp_path, model_type="mamba"))
    assert "'mamba'" in found["training"]["unpredicted"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model: {shape: llama-2-8b}", "not a known shape"),
        ("model: {shape: llama-2-7b, create: {hidden_size: 8}}", "model"),
        ("model: {}", "state a `base`"),
    ],
)
def test_wrong_shapes_are_refused(tmp_path, change, message):
    refused = puna(tmp_path, SKETCH.replace("model: {shape: tinyllama-1.1b}", change))
    assert refused.exit_code == 2
    assert message in refused.stderr


def test_the_picture_is_written(tmp_path):
    file = tmp_path / "plan.svg"
    assert puna(tmp_path, SKETCH, "--picture", str(file)).exit_code == 0
    assert file.read_text().startswith("<svg") and "one" in file.read_text()
    refused = puna(tmp_path, SKETCH, "--picture", str(file / "plan.svg"))
    assert refused.exit_code == 2 and "name a file that can be written" in refused.stderr


def test_memory_beyond_the_accelerator_is_warned_about(tmp_path):
    found = planned(tmp_path, SKETCH, "-s", "training.hardware.memory_gb=8")
    assert any("A100-80G has 8 GB" in warning for warning in found["warnings"])


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.yaml")), ids=lambda file: file.stem)
def test_recipes_of_published_runs_are_planned(tmp_path, file):
    command = ["plan", str(file), "--json", "--store", str(tmp_path)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["training"]["cost"]["seconds"] > 86400 / 2
