"""The recipes of the literature plan without weights or network, and their small twins are the same
recipes at another size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.recipe.file import load
from flows.recipe.read import read_recipe

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

RECIPES = {
    "colossal-llama-2": 8_500_000_000,
    "tinyllama/base": 2_000_000_000_000,
    "tinyllama/chinese": 2_000_000_000_000,
    "tinyllama/math-code": 2_000_000_000_000,
    "llama-3-6b": 3_003_904 * 8192,
    "llama-1": 1_000_000_000_000,
    "llama-1-13b": 1_000_000_000_000,
    "llama-1-33b": 1_400_000_000_000,
    "llama-1-65b": 1_400_000_000_000,
    "llama-3-style": 15_100_000_000_000,
}
"""Recipe -> tokens of its training."""

TWINS = ["adapt", *(name for name in RECIPES if name[:8] != "llama-1-")]

SIZES = {
    "tokens", "batch", "over", "total", "limit", "sequence_length", "positions", "micro_batch",
    "size", "bins", "precision", "hardware", "lr", "max_documents", "fraction", "hidden_size",
    "num_hidden_layers", "max_position_embeddings", "layers", "shape", "base", "dataset", "crawl",
    "length_bytes", "documents", "r",
}  # fmt: skip
"""Keys that have to do with size, or with where a big thing comes from."""

KEPT: dict[str, dict[str, str]] = {
    "adapt": {
        "training.micro_batch": "four rows fit anywhere",
        "training.phases.adapt.tokens": "1 epochs",
    },
    "colossal-llama-2": {"binning.bins": "buckets of ten bins are the point of it"},
    "tinyllama/base": {},
    "tinyllama/chinese": {},
    "tinyllama/math-code": {},
    "llama-3-6b": {"binning.bins": "four bins fit any size"},
    "llama-1": {},
    "llama-3-style": {},
}
"""Twin -> path of a size that it keeps on purpose -> why."""


LEFT_OUT = {
    r"sources\..*\.ingest\.(dataset|name|data_files|crawl|kind)": "files of this machine instead",
    r"model\.shape": "its weights are there",
    r"tokenizer\.base": "nothing is fetched: it trains its own",
    r"training\.devices\.replicas": "one process",
    r"language_models\.en\.(folder|normalise_without)": "nothing is fetched: it trains its own",
    r"(sources\.web\.)?classifiers\.adult\..*": "nothing is fetched; the demo has none of it",
    r"labels\.worth\.endpoint\.price\..*": "the rater beside it asks no money",
    r"mixtures\.main\.for\.parameters": "its proxies have one size",
}
"""Keys of recipes that a twin may take back -> why. All others it has too."""


def _plan(name: str, store: Path) -> dict[str, Any]:
    words = ["plan", str(CONFIGS / f"{name}.yaml"), "--json", "--store", str(store)]
    planned = CliRunner().invoke(app, words)
    assert planned.exit_code == 0, planned.output
    return json.loads(planned.stdout)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_plans_at_true_size_without_weights_or_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("infra.remote.retry.time.sleep", lambda seconds: None)
    found = _plan(name, tmp_path)
    recipe = read_recipe(CONFIGS / f"{name}.yaml")
    assert recipe.training is not None and recipe.binning is not None
    standings = recipe.training.standings(recipe.binning.sequence_length)
    assert sum(stand.wanted or 0 for stand in standings) == RECIPES[name]
    predicted = json.dumps(found)
    assert '"accelerator_hours"' in predicted and '"kg_co2"' in predicted


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_the_recipe_s_features_at_another_size(name: str) -> None:
    recipe, twin = (load(CONFIGS / f"{name}{end}.yaml").data for end in ("", "-small"))
    large, small = dict(_leaves(recipe)), dict(_leaves(twin))
    assert set(_phases(recipe)) == set(_phases(twin))
    for path, value in large.items():
        words = path.split(".")
        if not SIZES & set(words) or path in KEPT[name] or value is None:
            continue
        assert small.get(path) != value, f"{path}: the twin has {value!r} too"
    stale = [path for path in KEPT[name] if path not in large or small.get(path) != large[path]]
    assert not stale, f"KEPT names {stale}, which the twin changes or the recipe lacks"


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_every_key_of_its_recipe(name: str) -> None:
    recipe, twin = (load(CONFIGS / f"{name}{end}.yaml").data for end in ("", "-small"))
    small = dict(_leaves(twin))
    for path, value in _leaves(recipe):
        if value is not None and small.get(path) is None:
            assert any(re.fullmatch(known, path) for known in LEFT_OUT), f"the twin lacks {path}"


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_s_phases_are_made_like_the_recipe_s(name: str) -> None:
    """Mixtures with the same categories, shares and ramps; the same trained parts, rope, kinds."""
    recipe, twin = (load(CONFIGS / f"{name}{end}.yaml").data for end in ("", "-small"))
    for phase, small in zip(recipe["training"]["phases"], twin["training"]["phases"], strict=True):
        assert _without_sizes(phase) == _without_sizes(small)
    for section in ("schedule", "adapter", "optimizer"):
        of_recipe, of_twin = (data["training"].get(section) or {} for data in (recipe, twin))
        assert of_recipe.get("kind") == of_twin.get("kind")
        assert set(of_recipe) <= set(of_twin), section
    kept = ["seed", "document_mask", "schedule.final_ratio", "optimizer.betas"]
    large, small_leaves = dict(_leaves(recipe["training"])), dict(_leaves(twin["training"]))
    for key in kept:
        assert large.get(key) == small_leaves.get(key), key


def test_variants_train_their_common_phase_once(tmp_path: Path) -> None:
    """basic of all three is one node: what else the variants mix is no part of it."""
    recipes = [
        read_recipe(CONFIGS / f"tinyllama/{n}.yaml") for n in ("base", "chinese", "math-code")
    ]
    nodes = [r.training.node("basic", 2048).identity() for r in recipes if r.training]
    assert nodes[0] == nodes[1] == nodes[2]
    sources = [r.model_dump(include={"sources", "select", "tokenizer", "model"}) for r in recipes]
    assert sources[0] == sources[1] == sources[2]


def test_every_recipe_has_a_page_and_says_where_numbers_are_from() -> None:
    pages = CONFIGS.parent / "docs" / "recipes"
    for name in TWINS:
        page = pages / f"{name.partition('/')[0]}.md"
        assert page.is_file(), f"docs/recipes lacks a page of {name}"
        assert f"configs/{name}-small.yaml" in page.read_text(encoding="utf-8")
        text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
        assert "ours" in text or "[P]" in text


def _phases(data: dict[str, Any]) -> dict[str, Any]:
    return {phase["name"]: phase for phase in data["training"]["phases"]}


def _leaves(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every scalar and list; phases by their names."""
    if isinstance(data, list) and data and all(isinstance(i, dict) and "name" in i for i in data):
        data = {item["name"]: item for item in data}
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, data


def _without_sizes(data: Any) -> Any:
    """The same with every size replaced by whether it is there."""
    if isinstance(data, dict):
        return {
            key: "a size" if key in SIZES and key != "batch" else _without_sizes(value)
            for key, value in data.items()
            if key != "warmup"
        }
    if isinstance(data, list):
        return [_without_sizes(value) for value in data]
    return "a size" if isinstance(data, (int, str)) and str(data)[:1].isdigit() else data
