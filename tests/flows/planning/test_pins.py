"""`pin` in a recipe: the artifacts that are used instead of those that the recipe would build."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from infra.engine import EngineConfig
from infra.store import Store
from tests.end_to_end.direct import run_direct
from tests.end_to_end.world import jsonl, paragraph

INLINE = EngineConfig(kind="inline")
RECIPE = """\
name: pinned
sources:
  web:
    ingest: {format: jsonl, paths: [web.jsonl]}
    category: web
dedup: null
select: {heldout: null}
tokenizer: {train: {size: 300}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    rng = random.Random(3)
    jsonl(tmp_path / "web.jsonl", [{"text": paragraph(rng, "en")} for _ in range(8)])
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE)
    return file


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(str(tmp_path / "store"))


def planned(recipe: Path, store: Store, **asked: list[str]) -> dict[str, tuple[str | None, str]]:
    """Node -> version and why."""
    request = RunRequest.of(recipe, asked.get("overrides"), store.root.url, pin=asked.get("pin"))
    return {id: (step.version, step.why) for id, step in prepare(request).plan.steps.items()}


def stated(recipe: Path, pins: str) -> Path:
    recipe.write_text(f"{RECIPE}pin: {pins}\n")
    return recipe


def test_a_pin_of_the_recipe_is_used_by_what_plans_and_a_pin_of_the_command_counts_first(
    recipe: Path, store: Store
) -> None:
    first = run_direct(recipe, Path(store.root.url), INLINE)["tokenizer/main"]
    store.set_reference("pinned", first, "good")
    recipe.write_text(RECIPE.replace("300", "320"))
    second = run_direct(recipe, Path(store.root.url), INLINE)["tokenizer/main"]
    assert first.version != second.version
    by_recipe = (first.version, "pinned by the recipe")
    for pins in (
        f"{{tokenizer: '{first.version}'}}",
        f"{{tokenizer/main: '{first.version[:6]}'}}",
        "{tokenizer: good}",
        f"{{tokenizer: '{second.version}', tokenizer/main: good}}",
    ):
        stated(recipe, pins)
        assert planned(recipe, store)["tokenizer/main"] == by_recipe, pins
    by_command = (second.version, "pinned")
    for pin in (f"tokenizer={second.version}", "tokenizer/main=latest"):
        assert planned(recipe, store, pin=[pin])["tokenizer/main"] == by_command
    withdrawn = ["pin.tokenizer=null", "pin.tokenizer/main=null"]
    assert planned(recipe, store, overrides=withdrawn)["tokenizer/main"][1] == ""
    seen = CliRunner().invoke(app, ["plan", str(recipe), "--store", store.root.url, "--json"])
    stages = {stage["stage"]: stage for stage in json.loads(seen.stdout)["stages"]}
    assert (stages["tokenizer"]["version"], stages["tokenizer"]["why"]) == by_recipe
    assert first.identity in {  # what follows is made from it
        f"{given.stage}/{given.name}@{given.version}"
        for given in run_direct(recipe, Path(store.root.url), INLINE)[
            "report/pinned"
        ].manifest.inputs["tokenizer"]
    }


def test_pins_of_nothing_are_refused_all_at_once_with_what_there_is(
    recipe: Path, store: Store
) -> None:
    made = run_direct(recipe, Path(store.root.url), INLINE)["tokenizer/main"]
    stated(recipe, "{tokeniser: latest, select: best, ingest/web: ffff}")
    with pytest.raises(RecipeError) as refused:
        planned(recipe, store)
    place = f"{recipe}:9: pin"
    wrong_stage, no_tag, no_version = refused.value.problems
    assert wrong_stage.startswith(
        f"{place}: tokeniser: this recipe has no such stage (did you mean 'tokenizer'?); it has: "
    )
    assert no_tag.startswith(f"{place}.select: select/web@best: the store has: ")
    assert no_tag.endswith("(latest of pinned)")
    assert no_version.startswith(f"{place}.ingest/web: ingest/web@ffff: the store has: ")
    for pins, told in (
        ("{tokenizer: 123456}", r":9: pin.tokenizer: 123456 is not text; put it in quotes"),
        ("{tokenizer: ''}", r":9: pin.tokenizer: is empty text"),
        ("{tokenizer: null}", r":9: pin.tokenizer: "),
    ):
        with pytest.raises(RecipeError, match=told):
            planned(stated(recipe, pins), store)
    recipe.write_text(RECIPE)
    told = f"--pin tokenizer/main=no: the store has: {made.version}"
    with pytest.raises(RecipeError, match=told):
        planned(recipe, store, pin=["tokenizer=no"])
