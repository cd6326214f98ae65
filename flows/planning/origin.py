"""Training that goes on from a phase of another recipe (`training.from`): where it begins, and what
rules it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from flows.planning.plan import Plan
from flows.planning.refusals import row_lengths
from flows.recipe.file import RecipeError
from flows.recipe.references import ArtifactReference
from flows.recipe.sections import Recipe
from infra.store import Artifact
from tasks.checkpoints.config_keys import has_nested_rope, rope_of
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tasks.training.origin import STATE, tokenizer_digest
from tasks.training.phases.facts import Begin
from tasks.training.phases.section import TrainingSection
from tasks.training.planning.plan import Position, SharedSchedule
from tasks.training.stage import STAGE as TRAINING


def origin_of(plan: Plan) -> Artifact | None:
    """The other recipe's phase that this plan's training goes on from; None for none, or where the
    store lacks it.
    """
    for step in plan.steps.values():
        if step.node.stage.name == TRAINING.name and (given := step.external.get("previous")):
            return given[0]
    return None


def begin_of(training: TrainingSection, plan: Plan) -> Begin | None:
    """Where the first phase begins; None where the phase that it goes on from is not there yet."""
    if training.origin is None:
        return Begin()
    origin = origin_of(plan)
    state = _state(origin) if origin is not None else None
    if state is None:
        return None
    schedule = SharedSchedule(**state["schedule"]) if state["schedule"] else None
    length = next(iter(state["lengths"].values()), 0)
    return Begin(
        Position(state["tokens"], Fraction(state["owed"]), schedule),
        state["taken"],
        state["bins"],
        {category: state["lengths"].get(category, length) for category in state["taken"]},
    )


def origin_in_words(recipe: Recipe, plan: Plan) -> list[str]:
    """A line for `puna plan`; none where training begins by itself."""
    origin = origin_of(plan)
    if recipe.training is None or recipe.training.origin is None or origin is None:
        return []
    begin = begin_of(recipe.training, plan)
    where = "" if begin is None else f", after {begin.position.tokens:,} tokens of that run"
    made_by = ArtifactReference.parse(recipe.training.origin).recipe
    return [f"training goes on from {origin.identity} of recipe {made_by}{where}"]


def refuse_other_origin(recipe: Recipe, plan: Plan) -> None:
    """Raise `RecipeError` where training cannot go on from the phase that `training.from` names,
    with what differs.
    """
    origin = origin_of(plan)
    if recipe.training is None or origin is None:
        return
    place = recipe.place_of("training.from")
    if problems := [f"{place}training.from: {why}" for why in _differences(recipe, plan, origin)]:
        raise RecipeError(problems)


def _differences(recipe: Recipe, plan: Plan, origin: Artifact) -> Iterator[str]:
    if recipe.training is None:
        return
    state, first = _state(origin), recipe.training.phases[0]
    if state is None:
        yield (
            f"{origin.identity} has no {STATE}, so its moments and its place in the data are "
            "gone; name its checkpoint as model.base instead, which begins a run of its own"
        )
        return
    tokenizer = plan.steps.get(f"{TOKENIZER.name}/main")
    if tokenizer is not None and tokenizer.artifact is not None:
        made, wanted = tokenizer_digest(tokenizer.artifact), tokenizer_digest(origin)
        if made != wanted:
            yield (
                f"{origin.identity} was trained with another tokenizer than "
                f"{tokenizer.artifact.identity} (tokenizer.json {wanted[:12]}, here {made[:12]}); "
                "state the tokenizer of that recipe, or pin it"
            )
    seed = recipe.training.seed
    if first.data == "continue" and state["seed"] not in (None, seed):
        yield (
            f"{origin.identity} drew its data with seed {state['seed']}, and this recipe has seed "
            f"{seed}; use one seed, or data: restart in phase {first.name!r}"
        )
    config = origin.data.read_json("checkpoint/config.json")
    positions = config.get("max_position_embeddings")
    stretches = not has_nested_rope(config) and rope_of(config)["rope_type"] == "dynamic"
    for key, length in row_lengths(recipe).items():
        if positions is not None and length is not None and length > positions and not stretches:
            yield (
                f"{key} is {length:,}, and {origin.identity} has {positions:,} positions; lower "
                "it, or state the phase's context"
            )


def _state(origin: Artifact) -> dict[str, Any] | None:
    try:
        return origin.data.read_json(STATE)
    except FileNotFoundError:
        return None
