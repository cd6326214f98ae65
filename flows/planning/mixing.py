"""Nodes of the recipe's mixture searches: proxies, their evaluations, the search, its shares.

A proxy is three ordinary nodes of the same name: a model from nothing, one phase of training, and
an evaluation. So a killed search goes on with what is missing, and what a change does not touch
stays.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.planning.graph import Graph
from flows.recipe.mixing import MixtureSection
from flows.recipe.proxies import proxies_of
from flows.recipe.references import ArtifactReference, is_artifact
from flows.recipe.sections import Recipe
from tasks.evaluation.stage import STAGE as EVALUATION
from tasks.evaluation.stage import EvaluationParameters, HeldOutFloor
from tasks.mixture.stage import STAGE as MIXTURE
from tasks.mixture.stage import MixtureParameters
from tasks.model.stage import STAGE as MODEL
from tasks.model.stage import ModelParameters
from tasks.shares.stage import STAGE as SHARES
from tasks.shares.stage import SharesParameters
from tasks.training.recipe.mixtures import FromMixture, Mixture, categories_of, mixture_name
from tasks.training.recipe.sections import MaxEpochs, epochs_limit
from tasks.training.stage import STAGE as TRAINING


def add_mixtures(
    recipe: Recipe,
    graph: Graph,
    selected: Mapping[str, str],
    tokenizer: str,
    bins: Mapping[tuple[str, int], str],
) -> None:
    """Add the nodes of all searches that the recipe makes."""
    for name in recipe.mixtures:
        _add(recipe, graph, selected, tokenizer, bins, name)


def _add(
    recipe: Recipe,
    graph: Graph,
    selected: Mapping[str, str],
    tokenizer: str,
    bins: Mapping[tuple[str, int], str],
    name: str,
) -> None:
    if recipe.binning is None or recipe.training is None:
        return
    section, categories = recipe.mixtures[name], recipe.searched()[name]
    length = recipe.binning.sequence_length
    targets = section.targets or dict.fromkeys(categories, 1.0)
    feeding = recipe.categories()
    heldout = [
        id
        for source, id in selected.items()
        if any(source in feeding.get(target, ()) for target in targets)
    ]
    benchmarks = {target: recipe.benchmarks[target] for target in targets if target not in feeding}
    asked = EvaluationParameters.model_validate(
        {
            "protocols": ("bits-per-byte", *(("harness",) if benchmarks else ())),
            "benchmarks": benchmarks,
            "heldout_documents": section.heldout_documents,
            "heldout_floor": HeldOutFloor(documents=0, characters=0),
        }
    )
    trained, scored = [], []
    for proxy in proxies_of(recipe, name):
        mixture = proxy.training.mixture
        model = graph.add(
            MODEL, proxy.name, ModelParameters(create=proxy.shape), tokenizer=tokenizer
        )
        trained.append(
            graph.add(
                TRAINING,
                proxy.name,
                proxy.training,
                previous=model,
                bins=[
                    bins[category, length]
                    for category in categories_of(mixture, categories, recipe.searched())
                ],
                shares=shares_of(mixture, graph),
            )
        )
        scored.append(
            graph.add(
                EVALUATION,
                proxy.name,
                asked,
                model=trained[-1],
                heldout=heldout,
            )
        )
    limits: MaxEpochs = section.max_epochs or recipe.training.max_epochs
    mixture_id = graph.add(
        MIXTURE,
        name,
        MixtureParameters(
            categories=categories,
            search=section.search,
            targets=targets,
            benchmarks=benchmarks,
            tokens=section.target.tokens,
            parameters=section.target.parameters,
            max_epochs={category: epochs_limit(limits, category) for category in categories},
            shares=section.shares,
            law=section.law,
            level=section.level,
            resamples=section.resamples,
        ),
        proxies=trained,
        scores=scored,
        bins=[bins[category, length] for category in categories],
        heldout=heldout,
        given=_given(section),
    )
    graph.add(SHARES, name, SharesParameters(), mixture=mixture_id)


def _given(section: MixtureSection) -> str | ArtifactReference | None:
    if section.given is None:
        return None
    if is_artifact(section.given):
        return ArtifactReference.parse(section.given)
    return f"{MIXTURE.name}/{mixture_name(section.given)}"


def shares_id(mixture: FromMixture) -> str:
    """The node with the shares of a search, of this recipe or another."""
    if not is_artifact(mixture.origin):
        return f"{SHARES.name}/{mixture_name(mixture.origin)}"
    reference = ArtifactReference.parse(mixture.origin)
    return f"{SHARES.name}/{reference.recipe}.{reference.name}"


def shares_of(mixture: Mixture, graph: Graph) -> str | None:
    """The node whose shares a phase draws by; added where another recipe made the mixture."""
    if not isinstance(mixture, FromMixture):
        return None
    id = shares_id(mixture)
    if id not in graph.nodes and is_artifact(mixture.origin):
        reference = ArtifactReference.parse(mixture.origin)
        graph.add(SHARES, id.partition("/")[2], SharesParameters(), mixture=reference)
    return id
