"""What the phases of a recipe come to, from the bins and proposals that its store already holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flows.planning.mixing import shares_id
from flows.planning.origin import begin_of
from flows.planning.plan import Plan
from flows.recipe.references import is_artifact
from flows.recipe.sections import Recipe
from infra.store import Damaged
from tasks.binning.stage import STAGE as BINNING
from tasks.documents.bins import category_of, most_repeated
from tasks.documents.proposals import proposed_shares
from tasks.mixture.draws import whole
from tasks.training.phases.facts import BinFacts, PhaseFacts, facts
from tasks.training.phases.phase_section import PhaseSection
from tasks.training.phases.section import TrainingSection
from tasks.training.planning.ramps import PlanError
from tasks.training.recipe.mixtures import (
    FromMixture,
    Mixture,
    TimesNatural,
    categories_of,
    mixture_name,
)


def known_bins(plan: Plan) -> dict[tuple[str, int], BinFacts]:
    """(category, row length) -> bins in the store."""
    found = {}
    for step in plan.steps.values():
        if step.node.stage.name != BINNING.name or step.artifact is None:
            continue
        made = step.artifact.statistics
        found[category_of(step.node.name), made["sequence_length"]] = BinFacts(
            tuple(bin_["rows"] for bin_ in made["bins"]),
            made.get("loss_tokens"),
            most_repeated(made),
        )
    return found


def phase_facts(recipe: Recipe, plan: Plan) -> list[PhaseFacts]:
    """Facts of every phase, as far as they are known. Shares that a search has not proposed yet are
    assumed, and the facts say so.

    Raises:
        PlanError: bins that exist show that a phase cannot be carried out.
    """
    if recipe.training is None or recipe.binning is None:
        return []
    bins = known_bins(plan)
    training, assumed = _with_shares(recipe, recipe.training, plan, bins)
    found = facts(
        training,
        recipe.binning.sequence_length,
        list(recipe.categories()),
        bins,
        begin_of(recipe.training, plan),
    )
    return [replace(phase, assumed=assumed.get(phase.name, "")) for phase in found]


def _with_shares(
    recipe: Recipe,
    training: TrainingSection,
    plan: Plan,
    bins: Mapping[tuple[str, int], BinFacts],
) -> tuple[TrainingSection, dict[str, str]]:
    """The section with shares in place of the searches that phases name; phase -> what was assumed
    because a search has not been made.
    """
    phases, assumed = [], {}
    for phase in training.phases:
        mixture: Mixture = phase.mixture
        if isinstance(mixture, FromMixture):
            step = plan.steps[shares_id(mixture)]
            if step.artifact is not None and step.state != "run":
                mixture = _proposed(phase, mixture, plan)
            else:
                named = categories_of(mixture, list(recipe.categories()), recipe.searched())
                length, origin = phase.sequence_length or training_length(recipe), mixture.origin
                known = all((category, length) in bins for category in named)
                around = _around(recipe, mixture)
                if around is not None and around.keys() == set(named):
                    what, mixture = "the shares that it is searched around", dict(around)
                elif known:
                    what, mixture = "natural shares", _natural(named)
                else:
                    what, mixture = "equal shares", _equal(named)
                assumed[phase.name] = f"{what}, until {origin} is made"
        phases.append(phase.model_copy(update={"mixture": mixture}))
    return training.model_copy(update={"phases": tuple(phases)}), assumed


def training_length(recipe: Recipe) -> int:
    """Tokens of a row of phases that state none."""
    return recipe.binning.sequence_length if recipe.binning is not None else 0


def _proposed(phase: PhaseSection, mixture: FromMixture, plan: Plan) -> Mixture:
    artifact = plan.steps[shares_id(mixture)].artifact
    try:
        return mixture.shares(proposed_shares(artifact)) if artifact is not None else mixture
    except (Damaged, OSError, ValueError) as error:
        raise PlanError(f"{phase.name}.{error}") from None


def _around(recipe: Recipe, mixture: FromMixture) -> Mapping[str, float] | None:
    """The shares that the recipe states its search is to look around."""
    if is_artifact(mixture.origin):
        return None
    around = recipe.mixtures[mixture_name(mixture.origin)].around
    return whole(around) if isinstance(around, Mapping) else None


def _natural(categories: list[str]) -> Mixture:
    return TimesNatural(natural=dict.fromkeys(categories, 1.0))


def _equal(categories: list[str]) -> Mixture:
    first, *others = categories
    share = round(1 / len(categories), 6)
    return {first: "rest", **dict.fromkeys(others, share)}
