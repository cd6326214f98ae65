"""Checks of the tokenizer, the model and the phases of training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pydantic

from flows.recipe.checks.names import unknown_names
from tasks.training.plan import PlanError

if TYPE_CHECKING:
    from flows.recipe.sections import Recipe
    from tasks.tokenizer.stage import TokenizerParameters


def check_model(recipe: Recipe) -> list[str]:
    """The tokenizer has text to learn from; a model has a tokenizer."""
    if recipe.tokenizer is not None:
        return _check_tokenizer(recipe, recipe.tokenizer)
    if recipe.model is None or recipe.evaluated_models() == ("base",):
        return []
    base = recipe.model.base or "..."
    return [f"model: needs a tokenizer; add `tokenizer: {{base: {base}}}` to keep the base's"]


def _check_tokenizer(recipe: Recipe, section: TokenizerParameters) -> list[str]:
    """A tokenizer learns from selected text only."""
    where = f"tokenizer.{'expand' if section.expand else 'train'}.from"
    categories, named = recipe.categories(), section.learn_from()
    problems = unknown_names(where, list(named), {**categories, **recipe.sources})
    problems += [
        f"tokenizer.{name}: is set by the plan; name sources or categories in `{where}` instead"
        for name in ("categories", "weights")
        if name in section.model_fields_set
    ]
    problems += [
        f"{where}: source {name!r} has no category, so none of its text is selected; give it one, "
        "or remove it"
        for name in named
        if name in recipe.sources
        and recipe.sources[name].category is None
        and name not in categories
    ]
    feeds = {name: source.categories() for name, source in recipe.sources.items()}
    try:
        section.shares({name: fed for name, fed in feeds.items() if fed})
    except ValueError as error:
        problems.append(f"{where}: {error}")
    if not categories and section.learns:
        problems.append("tokenizer: no source has a category, so there is no text to learn from")
    return problems


def check_phases(recipe: Recipe) -> list[str]:
    """Training has all that it reads, rows fit the model, and every phase can be planned."""
    if recipe.training is None:
        return []
    needed = ("tokenizer", "model", "binning")
    missing = [section for section in needed if getattr(recipe, section) is None]
    if missing or recipe.binning is None:
        return [
            "training needs the sections tokenizer, model and binning; missing: "
            f"{', '.join(missing)}"
        ]
    problems, categories = [], recipe.categories()
    positions = recipe.model.positions if recipe.model else None
    if positions is not None and recipe.binning.sequence_length > positions:
        problems.append(
            f"binning.sequence_length: {recipe.binning.sequence_length} is more than the model's "
            f"{positions} positions (model.create.max_position_embeddings or "
            "model.context.positions); lower it, or raise those"
        )
    for phase in recipe.training.phases:
        if phase.mixture != "buckets":
            problems += unknown_names(
                f"training.phases.{phase.name}.mixture", list(phase.mixture), categories
            )
        try:
            recipe.training.node(phase.name, recipe.binning.sequence_length)
        except pydantic.ValidationError as error:
            detail = error.errors()[0]["msg"].removeprefix("Value error, ")
            problems.append(f"training.phases.{phase.name}: {detail}")
        except PlanError as error:
            problems.append(f"training.phases.{phase.name}: {error}")
    if not categories:
        problems.append("training: no source has a category, so there is nothing to train on")
    return problems


def check_new_rows(recipe: Recipe) -> Iterator[str]:
    """Only an expanded tokenizer has new rows to train."""
    expands = recipe.tokenizer is not None and recipe.tokenizer.expand is not None
    for phase in recipe.training.phases if recipe.training else ():
        if phase.trainable == "new-rows" and not expands:
            yield (
                f"training.phases.{phase.name}.trainable: new-rows trains the tokens that "
                "tokenizer.expand adds, and this recipe has no tokenizer.expand; write embeddings "
                "or all"
            )
