"""What the phases of a recipe come to, from the bins that its store already holds."""

from __future__ import annotations

from flows.planning.origin import begin_of
from flows.planning.plan import Plan
from flows.recipe.sections import Recipe
from tasks.binning.stage import STAGE as BINNING
from tasks.documents.bins import category_of, most_repeated
from tasks.training.phases.facts import BinFacts, PhaseFacts, facts


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
    """Facts of every phase, as far as they are known.

    Raises:
        PlanError: bins that exist show that a phase cannot be carried out.
    """
    if recipe.training is None or recipe.binning is None:
        return []
    return facts(
        recipe.training,
        recipe.binning.sequence_length,
        list(recipe.categories()),
        known_bins(plan),
        begin_of(recipe.training, plan),
    )
