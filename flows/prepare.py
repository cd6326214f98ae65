"""From a recipe's path to its plan: what every command that looks at a recipe starts with. Imports no Prefect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.graph import Graph
from flows.plan import Plan, Selection, make_plan
from flows.recipe import Recipe, read_recipe
from flows.recipe_file import RecipeError
from flows.resolve import Pins, Unresolved, resolve
from flows.stages import stages
from infra.stage import StageError
from infra.store import Store
from tasks.dedup.agreement import SIGNING, check_index
from tasks.model.layers import choose
from tasks.signatures.stage import STAGE as SIGNATURES
from tasks.tokenizer.stage import require_growth


@dataclass(frozen=True)
class Prepared:
    """A recipe with everything planning found out about it."""

    recipe: Recipe
    graph: Graph
    pins: Pins
    store: Store
    plan: Plan

    def refuse_unresolved(self) -> None:
        """Raise `RecipeError` unless every reference of the recipe was pinned: nothing runs half-known."""
        problems = [
            f"{self._place(step.id)}{step.id}: {step.why}"
            for step in self.plan.steps.values()
            if step.state == "unresolved" and not step.why.startswith("waits for ")
        ]
        if problems:
            raise RecipeError(problems)

    def _place(self, id: str) -> str:
        unresolved = [found.reference for found in self.pins[id].values() if isinstance(found, Unresolved)]
        return self.recipe.place_of(unresolved[0]) if unresolved else ""


def prepare(
    recipe_file: str | Path,
    overrides: Sequence[str] = (),
    store_url: str | None = None,
    selection: Selection | None = None,
) -> Prepared:
    """Read, resolve and plan a recipe. Raises `RecipeError` for whatever is wrong with it."""
    recipe = read_recipe(Path(recipe_file), overrides)
    store = Store.at(store_url or recipe.store)
    if store.root.url.startswith("memory://") and recipe.engine.kind != "inline":
        problem = f"store {store.root.url} is seen by one process only, and engine.kind is {recipe.engine.kind!r}"
        raise RecipeError([f"{problem}; name a folder, or set engine.kind=inline"])
    _refuse_absent_layers(recipe)
    _refuse_no_growth(recipe)
    graph = stages(recipe)
    pins = resolve(graph)
    plan = make_plan(graph, pins, store, recipe.name, selection)
    _refuse_other_indexes(recipe, plan)
    return Prepared(recipe, graph, pins, store, plan)


def _refuse_absent_layers(recipe: Recipe) -> None:
    """Layers that a local base does not have are a mistake now, not when a crawl has been read."""
    section = recipe.model
    if section is None or section.base is None or section.layers is None:
        return
    try:
        count = int(json.loads(Path(section.base, "config.json").read_text(encoding="utf-8"))["num_hidden_layers"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # an artifact, llama2.c's files, or nothing that can be read: the stage says what is wrong
    try:
        choose(section.layers, count, lambda _: [0.0] * count)
    except StageError as error:
        raise RecipeError([f"{recipe.place_of('model.base')}{error}"]) from None


def _refuse_no_growth(recipe: Recipe) -> None:
    """A size that a local base has already is a mistake now too."""
    section = recipe.tokenizer
    if section is None or section.base is None or section.expand is None or not isinstance(section.expand.size, int):
        return
    try:
        state = json.loads(Path(section.base, "tokenizer.json").read_text(encoding="utf-8"))
        last = max([*state["model"]["vocab"].values(), *(token["id"] for token in state["added_tokens"])])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # an artifact, a `.model` alone, or nothing that can be read: the stage says what is wrong
    try:
        require_growth(section.expand.size, last + 1)
    except StageError as error:
        raise RecipeError([f"{recipe.place_of('tokenizer.base')}tokenizer.expand.size: {error}"]) from None


def _refuse_other_indexes(recipe: Recipe, plan: Plan) -> None:
    """Earlier crawls whose index cannot be compared with this one are a mistake now too."""
    if recipe.dedup is None:
        return
    wanted = {name: getattr(recipe.dedup, name) for name in SIGNING} | {"version": SIGNATURES.version}
    for step in plan.steps.values():
        if step.state != "run":
            continue
        for reference, artifact in zip(recipe.dedup.history, step.external.get("history", ()), strict=False):
            try:
                check_index(artifact, wanted)
            except StageError as error:
                raise RecipeError([f"{recipe.place_of(reference)}{error}"]) from None
