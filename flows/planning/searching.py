"""What a recipe's mixture searches come to: proxies, tokens, time and memory; and limits that bins
already rule out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from flows.planning.phases import known_bins
from flows.planning.plan import Plan
from flows.recipe.file import RecipeError
from flows.recipe.proxies import proxies_of, proxy_section, vocabulary_of
from flows.recipe.proxy_shapes import model_shape
from flows.recipe.sections import Recipe
from infra.quantities import count, duration
from tasks.mixture.stage import STAGE as MIXTURE
from tasks.training.phases.facts import facts
from tasks.training.predict.prediction import predict
from tasks.training.recipe.devices import DeviceError
from tasks.training.recipe.sections import epochs_limit
from tasks.training.stage import STAGE as TRAINING

CPU_FLOPS = 1.5e10
"""Operations a second of a process of one thread with so small a model (docs/mixture.md)."""
START_S = 2.0
"""Processor time in which the training and the evaluation of a proxy start."""


@dataclass(frozen=True)
class SearchFacts:
    """One search. None: not known before the tokenizer exists."""

    name: str
    proxies: int
    to_train: int
    tokens: int
    parameters: tuple[int, int] | None
    flops: int | None
    seconds: float | None
    memory: int | None
    """Bytes of the largest proxy."""
    proposed: dict[str, float] | None
    """Category -> share, where the search has been made."""

    def to_json(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)


def search_facts(recipe: Recipe, plan: Plan) -> list[SearchFacts]:
    """Facts of all searches.

    Raises:
        RecipeError: bins that exist show that no mixture meets the limits.
    """
    _refuse_epochs(recipe, plan)
    return [_facts(recipe, plan, name) for name in recipe.mixtures]


def _facts(recipe: Recipe, plan: Plan, name: str) -> SearchFacts:
    section, training = recipe.mixtures[name], recipe.training
    assert training is not None and recipe.binning is not None  # checked with the recipe
    planned = list(proxies_of(recipe, name))
    missing = {p.name for p in planned if plan.steps[f"{TRAINING.name}/{p.name}"].state == "run"}
    length, vocabulary = recipe.binning.sequence_length, vocabulary_of(recipe)
    tokens = flops = memory = 0
    seconds, sizes = 0.0, []
    for group, models in enumerate(section.proxies):
        shape = models.shape(vocabulary, length)
        alone = proxy_section(training, section, group, "proxy", {"all": 1.0})
        (fact,) = facts(alone, length, ["all"], {})
        tokens += (fact.tokens or 0) * models.draws
        if vocabulary is None:
            continue
        sizes.append(model_shape(shape, vocabulary).parameters)
        try:
            (predicted,) = predict(alone, [fact], model_shape(shape, vocabulary)).phases
        except DeviceError:
            continue
        left = sum(1 for p in planned if p.name in missing and f"~{group}-" in p.name)
        flops += (predicted.flops or 6 * sizes[-1] * (fact.tokens or 0)) * left
        memory = max(memory, predicted.memory.total if predicted.memory else 0)
        if predicted.cost is not None:
            seconds += predicted.cost.seconds * left
        else:
            own = predicted.flops or 6 * sizes[-1] * (fact.tokens or 0)
            seconds += (own / CPU_FLOPS + START_S) * left / recipe.engine.processes_at_once()
    made = plan.steps[f"{MIXTURE.name}/{name}"]
    return SearchFacts(
        name,
        len(planned),
        len(missing),
        tokens,
        (min(sizes), max(sizes)) if sizes else None,
        flops if sizes else None,
        seconds if sizes else None,
        memory or None,
        made.artifact.statistics["shares"] if made.artifact and made.state != "run" else None,
    )


def _refuse_epochs(recipe: Recipe, plan: Plan) -> None:
    """Refuse a search whose target is longer than all epochs that are allowed."""
    if recipe.training is None or recipe.binning is None:
        return
    bins, length = known_bins(plan), recipe.binning.sequence_length
    for name, section in recipe.mixtures.items():
        categories, wanted = recipe.searched()[name], section.target.tokens
        limits = section.max_epochs or recipe.training.max_epochs
        if wanted is None or any((category, length) not in bins for category in categories):
            continue
        most = {
            category: epochs_limit(limits, category) * sum(bins[category, length].rows) * length
            for category in categories
        }
        room = sum(
            min(tokens, section.shares[c].max * wanted if c in section.shares else wanted)
            for c, tokens in most.items()
        )
        where = f"mixtures.{name}"
        place = recipe.place_of(where)
        if room < wanted:
            raise RecipeError(
                [
                    f"{place}{where}.for.tokens: no mixture meets all limits: {wanted:,} tokens, "
                    f"and max_epochs and shares allow {round(room):,} of all categories together; "
                    "state fewer tokens, raise max_epochs, or add data"
                ]
            )
        for category, share in section.shares.items():
            if share.min * wanted > most[category]:
                raise RecipeError(
                    [
                        f"{place}{where}.shares.{category}.min: {share.min:g} of {wanted:,} tokens "
                        f"is more than max_epochs allow of {category} "
                        f"({most[category] / wanted:.3g}); lower it, or raise max_epochs"
                    ]
                )


def search_lines(found: list[SearchFacts]) -> Iterator[str]:
    """A line or two for each search."""
    for one in found:
        sizes = ""
        if one.parameters is not None:
            low, high = (count(size) for size in one.parameters)
            sizes = f" of {low} parameters" if low == high else f" of {low} to {high} parameters"
        left = "all trained" if not one.to_train else f"{one.to_train} to train"
        told = (
            f"mixture {one.name}: {one.proxies} proxies{sizes}, {count(one.tokens)} tokens, {left}"
        )
        if one.to_train and one.seconds is not None:
            told += f", ≈ {duration(one.seconds)}"
        if one.memory is not None:
            told += f", {one.memory / 1e9:.2g} GB each"
        yield told
        if one.proposed is not None:
            yield "  proposes " + ", ".join(f"{c} {s:.3g}" for c, s in one.proposed.items())
