"""Checks of the tokenizer, the model and the phases of training."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pydantic

from flows.recipe.checks.names import unknown_names
from flows.recipe.references import ArtifactReference, is_artifact
from tasks.training.planning.ramps import PlanError
from tasks.training.recipe.mixtures import categories_of

if TYPE_CHECKING:
    from flows.recipe.sections import Recipe
    from tasks.tokenizer.stage import TokenizerParameters
    from tasks.training.phases.phase_section import PhaseSection
    from tasks.training.phases.section import TrainingSection


def check_model(recipe: Recipe) -> list[str]:
    """The tokenizer has text to learn from; a model has a tokenizer."""
    if recipe.tokenizer is not None:
        return _check_tokenizer(recipe, recipe.tokenizer)
    if recipe.model is None or recipe.evaluated_models() == ("base",) or recipe.model.only_planned:
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
    planned = recipe.model is not None and recipe.model.only_planned
    needed = ("model", "binning") if planned else ("tokenizer", "model", "binning")
    if recipe.training.origin is not None:
        needed = ("tokenizer", "binning")
        if wrong := list(_check_origin(recipe, recipe.training.origin)):
            return wrong
    missing = [section for section in needed if getattr(recipe, section) is None]
    if missing or recipe.binning is None:
        return [
            f"training needs the sections {', '.join(needed[:-1])} and {needed[-1]}; missing: "
            f"{', '.join(missing)}"
        ]
    problems, categories = list(_check_positions(recipe)), recipe.categories()
    for phase in recipe.training.phases:
        where = f"training.phases.{phase.name}"
        named = categories_of(phase.mixture, list(categories), recipe.searched())
        if categories or not planned:
            problems += unknown_names(f"{where}.mixture", named, categories)
        for owner, limits in ((where, phase.max_epochs), ("training", recipe.training.max_epochs)):
            limited = [name for name in limits if name != "*"] if isinstance(limits, dict) else []
            if categories or not planned:
                problems += unknown_names(f"{owner}.max_epochs", limited, categories)
        try:
            recipe.training.node(phase.name, recipe.binning.sequence_length)
        except pydantic.ValidationError as error:
            detail = error.errors()[0]["msg"].removeprefix("Value error, ")
            problems.append(f"{_owner(recipe.training, phase, detail)}.{detail}")
        except PlanError as error:
            problems.append(f"{_owner(recipe.training, phase, str(error))}.{error}")
    if not categories and not planned:
        problems.append("training: no source has a category, so there is nothing to train on")
    return list(dict.fromkeys(problems))


def _check_origin(recipe: Recipe, origin: str) -> Iterator[str]:
    """Training goes on from a phase, and from nothing else."""
    try:
        stage = ArtifactReference.parse(origin).stage if is_artifact(origin) else ""
    except ValueError as error:
        yield f"training.from: {error}"
        return
    if stage != "training":
        yield (
            f"training.from: {origin!r} is no phase of another recipe; write "
            "artifact:RECIPE/training/PHASE@TAG, such as artifact:base/training/inject@latest (a "
            "model without moments is a model.base)"
        )
    if recipe.model is not None:
        yield (
            "model: training.from goes on with the model of another recipe, so this section has "
            "nothing to make; remove it (model: null), or training.from"
        )
    if recipe.loop is not None:
        yield (
            "training.from: later runs of a loop go on from the promoted run; begin the loop's "
            "first run with that phase as model.base"
        )


def _owner(training: TrainingSection, phase: PhaseSection, problem: str) -> str:
    """The section that states the key a problem begins with: what phases share is told once."""
    key = re.split(r"[.:]", problem, maxsplit=1)[0]
    own = key in type(phase).model_fields and (key != "schedule" or phase.schedule is not None)
    shared = key in type(training).model_fields and not own
    return "training" if shared else f"training.phases.{phase.name}"


def _check_positions(recipe: Recipe) -> Iterator[str]:
    """Rows fit the model: as it begins, and from the phase on that changes its context."""
    if recipe.training is None or recipe.binning is None:
        return
    positions = recipe.model.positions if recipe.model else None
    changed = "model.create.max_position_embeddings or model.context.positions"
    for phase in recipe.training.phases:
        if phase.context is not None:
            positions = None if phase.context.rope.type == "dynamic" else phase.context.positions
            changed = f"context.positions of phase {phase.name!r}"
        own = phase.sequence_length
        length = own or recipe.binning.sequence_length
        if positions is not None and length > positions:
            name = "binning.sequence_length" if own is None else "sequence_length"
            where = f"training.phases.{phase.name}." if own is not None else ""
            yield (
                f"{where}{name}: {length} is more than the model's {positions} positions "
                f"({changed}); lower it, or raise those"
            )


def check_watched(recipe: Recipe) -> Iterator[str]:
    """Evaluations inside phases have held-out text to read."""
    watched = recipe.training.evaluation if recipe.training else None
    if watched is not None and watched.documents and recipe.select.heldout is None:
        without = " and state prompts" if not watched.prompts else ""
        yield (
            f"training.evaluation.documents: {watched.documents} held-out documents of each "
            "category are to be read, and select.heldout is null; remove that, or write "
            f"`documents: 0`{without}, or remove training.evaluation"
        )


def check_new_rows(recipe: Recipe) -> Iterator[str]:
    """Only an expanded tokenizer has new rows to train, and these must not stay untrained."""
    expands = recipe.tokenizer is not None and recipe.tokenizer.expand is not None
    for phase in recipe.training.phases if recipe.training else ():
        if phase.trainable == "new-rows" and not expands:
            yield (
                f"training.phases.{phase.name}.trainable: new-rows trains the tokens that "
                "tokenizer.expand adds, and this recipe has no tokenizer.expand; write embeddings "
                "or all"
            )
        adapter = recipe.training.adapter_of(phase) if recipe.training else None
        if adapter is not None:
            try:
                adapter.embeddings_trained(expands)
            except ValueError as error:
                yield f"training.phases.{phase.name}.{error}"
