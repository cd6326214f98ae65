"""What models at hand rule out, refused when the plan is made, so that no mistake costs a crawl."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.recipe.checks.sources import named_languages
from flows.recipe.file import RecipeError
from flows.recipe.sections import Recipe
from infra.stage import StageError
from tasks.checkpoints.base_config import config_of
from tasks.langid.labels import absent_language
from tasks.model.layers import choose


def refuse_by_base(recipe: Recipe) -> None:
    """Raise `RecipeError` for languages, layers and lengths that local models rule out."""
    _refuse_absent_languages(recipe)
    base = recipe.model.base if recipe.model is not None else None
    if base is not None:
        refuse_by_config(recipe, config_of(base))


def refuse_by_config(recipe: Recipe, config: Mapping[str, Any] | None) -> None:
    """Raise `RecipeError` for layers and lengths that a base's configuration rules out; None where
    it cannot be read.
    """
    _refuse_absent_layers(recipe, config)
    _refuse_long_rows(recipe, config)


def _refuse_absent_languages(recipe: Recipe) -> None:
    """Refuse languages that the langid model in a local file has no label for."""
    problems = [
        f"{recipe.place_of(model)}{setting}: {problem}"
        for setting, language, model in named_languages(recipe)
        if Path(model).is_file() and (problem := absent_language(language, Path(model)))
    ]
    if problems:
        raise RecipeError(problems)


def _refuse_absent_layers(recipe: Recipe, config: Mapping[str, Any] | None) -> None:
    """Refuse layers that the base lacks."""
    section = recipe.model
    if section is None or section.layers is None:
        return
    count = _number(config, "num_hidden_layers")
    if count is None:
        return
    try:
        choose(section.layers, count, lambda _: [0.0] * count)
    except StageError as error:
        raise RecipeError([f"{recipe.place_of('model.base')}{error}"]) from None


def _number(config: Mapping[str, Any] | None, key: str) -> int | None:
    """A number of a configuration; None where there is none."""
    try:
        return int((config or {})[key])
    except (ValueError, KeyError, TypeError):
        return None


def _refuse_long_rows(recipe: Recipe, config: Mapping[str, Any] | None) -> None:
    """Refuse rows and evaluations longer than the base's positions, unless the recipe changes its
    context.
    """
    model = recipe.model
    if model is None or model.context is not None:
        return
    positions = _number(config, "max_position_embeddings")
    changed = any(phase.context for phase in recipe.training.phases) if recipe.training else False
    stated = row_lengths(recipe) | {
        "evaluation.max_length": recipe.evaluation.max_length
        if recipe.evaluation and not changed
        else None,
    }
    problems = [
        f"{recipe.place_of('model.base')}{name}: {length:,} is more than the base's {positions:,} "
        "positions; lower it, or state model.context, or a phase's, with the positions and rope "
        "you want"
        for name, length in stated.items()
        if length is not None and positions is not None and length > positions
    ]
    if problems and not _stretches(config):
        raise RecipeError(problems)


def row_lengths(recipe: Recipe) -> dict[str, int | None]:
    """Row lengths by the key that states them, of phases before one that changes positions."""
    if recipe.training is None or recipe.binning is None:
        return {}
    lengths: dict[str, int | None] = {}
    for phase in recipe.training.phases:
        if phase.context is not None:
            break
        if phase.sequence_length is None:
            lengths["binning.sequence_length"] = recipe.binning.sequence_length
        else:
            lengths[f"training.phases.{phase.name}.sequence_length"] = phase.sequence_length
    return lengths


def _stretches(config: Mapping[str, Any] | None) -> bool:
    """Whether the base's RoPE scales with the text's length (dynamic), or cannot be read."""
    if config is None:
        return True
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return not isinstance(rope, dict) or "dynamic" in (rope.get("rope_type"), rope.get("type"))
