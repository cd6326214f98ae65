"""The proxies of a mixture search, as the recipe states them. Imports are light."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.recipe.mixing import MixtureSection
from tasks.documents.proposals import proxy_name
from tasks.mixture.draws import seed_of
from tasks.model.stage import Create
from tasks.training.phases.phase_section import PhaseSection
from tasks.training.phases.section import TrainingSection
from tasks.training.recipe.mixtures import Mixture
from tasks.training.stage import TrainingParameters

if TYPE_CHECKING:
    from flows.recipe.sections import Recipe

_ANY_EPOCHS = 1e6
"""Proxies may repeat rows as often as their mixture asks; the search reports it."""


@dataclass(frozen=True)
class ProxyPlan:
    """One proxy before it is a node."""

    name: str
    shape: Create
    training: TrainingParameters


def proxies_of(recipe: Recipe, name: str) -> Iterator[ProxyPlan]:
    """The proxies of a search.

    Raises:
        ValueError: a size cannot be had, or a phase cannot be planned; begins with its key.
    """
    section, training = recipe.mixtures[name], recipe.training
    if training is None or recipe.binning is None:
        return
    length, vocabulary = recipe.binning.sequence_length, vocabulary_of(recipe)
    categories = recipe.searched()[name]
    for group, models in enumerate(section.proxies):
        where = f"proxies.{group}"
        try:
            shape = models.shape(vocabulary, length)
        except ValueError as error:
            raise ValueError(f"{where}.{error}") from None
        for draw, mixture in enumerate(section.mixtures(categories, group)):
            proxy = proxy_name(name, group, draw)
            alone = proxy_section(training, section, group, proxy, mixture)
            node = alone.node(proxy, length).model_copy(update={"proxy": True})
            seeds = {"seed": seed_of(section.seed, group, draw)}
            yield ProxyPlan(proxy, shape.model_copy(update=seeds), node.model_copy(update=seeds))


def proxy_section(
    training: TrainingSection, section: MixtureSection, group: int, name: str, mixture: Mixture
) -> TrainingSection:
    """A section of one phase: as the recipe trains, but for what the search states itself."""
    models = section.proxies[group]
    phase = PhaseSection(name="proxy", tokens=models.tokens, mixture=mixture)
    schedule = section.schedule or training.schedule
    optimizer = section.optimizer or training.optimizer
    return training.model_copy(
        update={
            "origin": None,
            "adapter": None,
            "phases": (phase.model_copy(update={"name": name}),),
            "batch": section.batch or training.batch or training.batch_of(training.phases[0]),
            "optimizer": optimizer.model_copy(update={"lr": models.lr} if models.lr else {}),
            "schedule": schedule.model_copy(update={"total": None}),
            "max_epochs": _ANY_EPOCHS,
            "evaluation": None,
            "tracker": "none",
        }
    )


def vocabulary_of(recipe: Recipe) -> int | None:
    """Tokens of the recipe's tokenizer; None where only its making tells."""
    section = recipe.tokenizer
    if section is None:
        return None
    if section.train is not None:
        return section.train.size
    size = section.expand.size if section.expand is not None else None
    return size if isinstance(size, int) else None
