"""From selected text to scores: nodes of the tokenizer, the model, bins, phases, evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flows.planning.graph import Graph
from flows.planning.looping.continuing import Past
from flows.planning.mixing import add_mixtures, shares_of
from flows.planning.roles import MAIN, narrowed
from flows.recipe.references import ARTIFACT_SCHEME, ArtifactReference
from flows.recipe.sections import Recipe
from tasks.binning.stage import STAGE as BINNING
from tasks.documents.bins import bins_name
from tasks.evaluation.stage import STAGE as EVALUATION
from tasks.evaluation.stage import EvaluationParameters
from tasks.model.stage import STAGE as MODEL
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tasks.training.recipe.mixtures import categories_of
from tasks.training.stage import STAGE as TRAINING

_OF_SCHEDULE = dict.fromkeys(
    ("schedule.total", "schedule.later"),
    "learning rates span all phases; where training.schedule.total states their length, a change "
    "of the last phase leaves those before it alone",
)
"""Why a phase runs again whose own section did not change."""


def add_models(
    recipe: Recipe, graph: Graph, selected: dict[str, str]
) -> dict[str, str | ArtifactReference]:
    """Add the tokenizer to the last phase; returns model name -> the node or artifact with its
    checkpoint.
    """
    models: dict[str, str | ArtifactReference] = {}
    if recipe.tokenizer is None:
        return models
    feeds = {source: recipe.sources[source].categories() for source in selected}
    tokenizer = graph.add(
        TOKENIZER,
        MAIN,
        recipe.tokenizer.with_shares(feeds),
        select=[selected[source] for source in recipe.tokenizer.shares(feeds)],
        base=_reference(recipe.tokenizer.base),
    )
    if recipe.model is not None:
        base = _reference(recipe.model.base)
        measured_on = list(selected.values()) if recipe.model.needs_text else ()
        models["model"] = graph.add(
            MODEL, MAIN, recipe.model, tokenizer=tokenizer, base=base, select=measured_on
        )
    else:
        base = _reference(recipe.training.origin) if recipe.training else None
    if base is not None:
        models["base"] = base
    if recipe.training is None or recipe.binning is None:
        return models
    return models | _phases(recipe, graph, selected, tokenizer, models.get("model", base))


def _phases(
    recipe: Recipe,
    graph: Graph,
    selected: dict[str, str],
    tokenizer: str,
    previous: str | ArtifactReference | None,
) -> dict[str, str | ArtifactReference]:
    """Add bins and the phases that read them, one after the other, the first one from `previous`;
    returns phase -> its node.
    """
    models: dict[str, str | ArtifactReference] = {}
    if recipe.training is None or recipe.binning is None:
        return models
    sources_of, searched = recipe.categories(), recipe.searched()
    default = recipe.binning.sequence_length
    read = {
        (category, phase.sequence_length or default): None
        for phase in recipe.training.phases
        for category in categories_of(phase.mixture, list(sources_of), searched)
    } | {(category, default): None for searched_by in searched.values() for category in searched_by}
    bins = {
        (category, length): graph.add(
            BINNING,
            bins_name(category, length if length != default else None),
            recipe.binning.model_copy(update={"sequence_length": length}),
            select=[selected[source] for source in sources_of[category]],
            tokenizer=tokenizer,
        )
        for category, length in sorted(read, key=_by_category(list(sources_of), default))
    }
    add_mixtures(recipe, graph, selected, tokenizer, bins)
    spans_phases = recipe.training.schedule.total is None
    for phase in recipe.training.phases:
        length = phase.sequence_length or default
        node = graph.add(
            TRAINING,
            phase.name,
            recipe.training.node(phase.name, default),
            previous=previous,
            bins=[
                bins[category, length]
                for category in categories_of(phase.mixture, list(sources_of), searched)
            ],
            heldout=list(selected.values()) if recipe.training.evaluation else (),
            shares=shares_of(phase.mixture, graph),
        )
        if spans_phases and phase.schedule is None:
            graph.remark(node, _OF_SCHEDULE)
        models[phase.name] = previous = node
    return models


def _by_category(
    categories: Sequence[str], default: int
) -> Callable[[tuple[str, int]], tuple[int, bool, int]]:
    """Sorts (category, row length) as the recipe does, the default length first."""
    return lambda bins: (categories.index(bins[0]), bins[1] != default, bins[1])


def add_evaluations(
    recipe: Recipe,
    graph: Graph,
    selected: dict[str, str],
    models: dict[str, str | ArtifactReference],
    past: Past,
) -> None:
    """Add an evaluation of each model that the recipe evaluates."""
    section = recipe.evaluation
    if section is None:
        return
    removes = recipe.decontaminate is not None and recipe.decontaminate.action != "report"
    searched_for = recipe.searched_for() if removes else ()
    others = recipe.other_models()
    if recipe.model and recipe.model.base and "base" not in models:
        others["base"] = recipe.model.base
    for name in recipe.evaluated_models():
        model = models.get(name) or _reference(others.get(name))
        parameters = narrowed(
            EvaluationParameters,
            section,
            benchmarks={task: recipe.benchmarks[task] for task in section.tasks},
            decontaminated=tuple(task for task in section.tasks if task in searched_for),
            model=None if model else others.get(name),
        )
        graph.add(
            EVALUATION,
            name,
            parameters,
            model=model,
            heldout=list(selected.values()),
            earlier=past.earlier,
        )


def _reference(base: str | None) -> ArtifactReference | None:
    return ArtifactReference.parse(base) if base and base.startswith(ARTIFACT_SCHEME) else None
