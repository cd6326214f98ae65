"""Checks of vectors: what makes them is there, and something has text for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.recipe.checks.names import unknown_names
from tasks.embeddings.stage import BASE

if TYPE_CHECKING:
    from flows.recipe.sections import Recipe


def check_embeddings(recipe: Recipe) -> list[str]:
    """Vectors of the base need one; what compares vectors needs some."""
    section, semantic = recipe.embeddings, recipe.semantic
    problems = []
    if semantic is not None:
        problems += [
            f"semantic.{name}: is set by the plan; state dedup.{name} instead"
            for name in ("prefer", "crawls")
            if name in semantic.model_fields_set
        ]
        if section is None:
            problems.append(
                "semantic: compares vectors, and the recipe makes none; add `embeddings: {model: "
                "...}`"
            )
        if recipe.dedup is None:
            problems.append(
                "semantic: compares what dedup leaves, in its order; remove `dedup: null`, or "
                "semantic"
            )
        problems += unknown_names("semantic.without", semantic.without, recipe.sources)
        if recipe.compared() and not recipe.near():
            problems.append(
                "semantic.without: names every source that dedup compares; leave one out of it, or "
                "remove semantic"
            )
    if section is None:
        return problems
    if section.model == BASE and (recipe.model is None or recipe.model.base is None):
        problems.append(
            "embeddings.model: is base, but the recipe has no model.base; state one, or name an "
            "encoder here, or a model that another recipe made (artifact:RECIPE/model/NAME@TAG)"
        )
    if not recipe.embedded():
        problems.append("embeddings: no source has a category, so no document gets a vector")
    return problems
