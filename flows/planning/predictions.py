"""What a recipe's training will take, from what is known of its model before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.planning.origin import origin_of
from flows.planning.plan import Plan
from flows.planning.roles import MAIN
from flows.recipe.file import RecipeError
from flows.recipe.sections import Recipe
from infra.store import Artifact
from tasks.checkpoints.base_config import config_of
from tasks.checkpoints.shapes import ModelShape, ShapeError, shape_of
from tasks.model.stage import STAGE as MODEL
from tasks.model.stage import LayerChoice
from tasks.training.phases.facts import PhaseFacts
from tasks.training.predict.prediction import Prediction, predict
from tasks.training.predict.setup import AbsentTarget
from tasks.training.recipe.devices import DeviceError


class NoShape(ValueError):
    """The model's sizes are not known; says why and what to state."""


def predictions(
    recipe: Recipe, plan: Plan, facts: Sequence[PhaseFacts]
) -> tuple[Prediction | None, str]:
    """Predictions of all phases, or why there are none ("" for a recipe without training).

    Raises:
        RecipeError: an adapter's target that the model has no module for.
    """
    if recipe.training is None or not facts:
        return None, ""
    try:
        grows = recipe.tokenizer is not None and recipe.tokenizer.expand is not None
        return predict(recipe.training, facts, model_shape(recipe, plan), grows), ""
    except AbsentTarget as problem:
        if recipe.model is not None and recipe.model.shape is None:
            keys = str(problem).partition(":")[0].split(".")
            place = recipe.place_of(".".join(keys[:-1])) or recipe.place_of(".".join(keys[:-2]))
            raise RecipeError([f"{place}{problem}"]) from None
        return None, str(problem)  # a shape that only comes close has other names
    except (NoShape, DeviceError) as problem:
        return None, str(problem)


def model_shape(recipe: Recipe, plan: Plan) -> ModelShape:
    """The sizes of the model that training begins with: of the model stage's artifact, else those
    of the base, its vocabulary and layers as the recipe changes them.

    Raises:
        NoShape: nothing that can be read here states them.
    """
    made = plan.steps.get(f"{MODEL.name}/{MAIN}")
    if made is not None and made.artifact is not None:
        config = _config_in(made.artifact)
        if config is not None:
            return _of_config(config)
    if (origin := origin_of(plan)) is not None and (config := _config_in(origin)) is not None:
        return _of_config(config)
    if recipe.model is None:
        raise NoShape("the recipe has no model section")
    shape = _base_shape(recipe, plan).grown(_vocabulary(recipe), _layers(recipe))
    pad = recipe.model.pad_to_multiple_of
    return shape.grown(-(-shape.vocab_size // pad) * pad)


def _base_shape(recipe: Recipe, plan: Plan) -> ModelShape:
    section = recipe.model
    if section is None:
        raise NoShape("the recipe has no model section")
    if section.create is not None:
        sizes = section.create.model_dump(include=set(ModelShape.model_fields))
        return ModelShape.model_validate(sizes)
    config = made_config(plan)
    if config is None and section.base is not None:
        config = config_of(section.base)
    if config is not None:
        try:
            return _of_config(config)
        except NoShape:
            if section.shape is None:
                raise
    if section.shape is not None:
        return shape_of(section.shape)
    raise NoShape(
        f"the sizes of {section.base} cannot be read here; state model.shape, such as llama-2-7b"
    )


def _of_config(config: dict[str, Any]) -> ModelShape:
    try:
        return ModelShape.from_config(config)
    except ShapeError as error:
        raise NoShape(str(error)) from None


def made_config(plan: Plan) -> dict[str, Any] | None:
    """The configuration of the base that another recipe made; None where there is none."""
    for step in plan.steps.values():
        if step.id == f"{MODEL.name}/{MAIN}":
            for artifact in step.external.get("base", ()):
                return _config_in(artifact)
    return None


def _config_in(artifact: Artifact) -> dict[str, Any] | None:
    try:
        return artifact.data.read_json("checkpoint/config.json")
    except (OSError, ValueError):
        return None  # damaged or out of reach, which the run reports


def _vocabulary(recipe: Recipe) -> int | None:
    """Tokens of the recipe's tokenizer; None: the base's, or not known before it is made."""
    section = recipe.tokenizer
    if section is None:
        return None
    if section.train is not None:
        return section.train.size
    size = section.expand.size if section.expand is not None else None
    return size if isinstance(size, int) else None


def _layers(recipe: Recipe) -> int | None:
    chosen = recipe.model.layers if recipe.model is not None else None
    if isinstance(chosen, LayerChoice):
        return chosen.first or chosen.ends or chosen.important
    return len(chosen) if chosen is not None else None
