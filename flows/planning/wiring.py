"""From a recipe to the graph of its stages.

Annotate every source; cut and deduplicate all sources together; select; expand the tokenizer and
the model; bin; train phase by phase; evaluate; report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flows.planning.documents import TEXT_STAGES, add_documents
from flows.planning.graph import Graph
from flows.planning.looping.continuing import Past
from flows.planning.roles import MAIN, Wiring, narrowed
from flows.recipe.references import ARTIFACT_SCHEME, ArtifactReference
from flows.recipe.sections import Recipe
from tasks.binning.stage import STAGE as BINNING
from tasks.documents.bins import bins_name
from tasks.evaluation.stage import STAGE as EVALUATION
from tasks.evaluation.stage import EvaluationParameters
from tasks.model.stage import STAGE as MODEL
from tasks.report.stage import STAGE as REPORT
from tasks.report.stage import ReportParameters
from tasks.scorecard.stage import STAGE as SCORECARD
from tasks.scorecard.stage import ScorecardParameters
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tasks.training.recipe.sections import categories_of
from tasks.training.stage import STAGE as TRAINING

_OF_SCHEDULE = dict.fromkeys(
    ("schedule.total", "schedule.later"),
    "learning rates span all phases; where training.schedule.total states their length, a change "
    "of the last phase leaves those before it alone",
)
"""Why a phase runs again whose own section did not change."""

STAGES = (*TEXT_STAGES, TOKENIZER, MODEL, BINNING, TRAINING, EVALUATION, SCORECARD, REPORT)
"""All stages in running order."""


def stages(recipe: Recipe, past: Past | None = None) -> Graph:
    """All nodes of a recipe, in running order. `past`: what a run of a loop takes from those before
    it.
    """
    graph, past = Graph(), past or Past()
    selected = add_documents(recipe, Wiring(graph), past)
    models = _models(recipe, graph, selected)
    _evaluations(recipe, graph, selected, models, past)
    if recipe.loop is not None:
        again = tuple(name for name, source in recipe.sources.items() if source.again)
        limits = narrowed(ScorecardParameters, recipe.loop, again=again)
        graph.add(SCORECARD, MAIN, limits, run=list(graph.nodes), promoted=past.promoted)
    by_stage: dict[str, list[str]] = {}
    for id, node in graph.nodes.items():
        by_stage.setdefault(node.stage.name, []).append(id)
    hardware = recipe.training.hardware if recipe.training else None
    report = ReportParameters(
        recipe=recipe.name,
        dollars_per_hour=hardware.count * hardware.dollars_per_hour if hardware else None,
        stated=recipe.data(),
    )
    graph.add(REPORT, recipe.name, report, **by_stage)
    return graph


def _models(
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
    if recipe.model is None:
        return models
    base = _reference(recipe.model.base)
    measured_on = list(selected.values()) if recipe.model.needs_text else ()
    model = graph.add(MODEL, MAIN, recipe.model, tokenizer=tokenizer, base=base, select=measured_on)
    models["model"] = model
    if base is not None:
        models["base"] = base
    if recipe.training is None or recipe.binning is None:
        return models
    sources_of = recipe.categories()
    default = recipe.binning.sequence_length
    read = {
        (category, phase.sequence_length or default): None
        for phase in recipe.training.phases
        for category in categories_of(phase.mixture, list(sources_of))
    }
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
    spans_phases = recipe.training.schedule.total is None
    previous = model
    for phase in recipe.training.phases:
        length = phase.sequence_length or default
        previous = graph.add(
            TRAINING,
            phase.name,
            recipe.training.node(phase.name, default),
            previous=previous,
            bins=[
                bins[category, length]
                for category in categories_of(phase.mixture, list(sources_of))
            ],
            heldout=list(selected.values()) if recipe.training.evaluation else (),
        )
        if spans_phases and phase.schedule is None:
            graph.remark(previous, _OF_SCHEDULE)
        models[phase.name] = previous
    return models


def _by_category(
    categories: Sequence[str], default: int
) -> Callable[[tuple[str, int]], tuple[int, bool, int]]:
    """Sorts (category, row length) as the recipe does, the default length first."""
    return lambda bins: (categories.index(bins[0]), bins[1] != default, bins[1])


def _evaluations(
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
    for name in recipe.evaluated_models():
        is_file = name == "base" and name not in models
        parameters = narrowed(
            EvaluationParameters,
            section,
            benchmarks={task: recipe.benchmarks[task] for task in section.tasks},
            decontaminated=tuple(task for task in section.tasks if task in searched_for),
            model=recipe.model.base if recipe.model and is_file else None,
        )
        graph.add(
            EVALUATION,
            name,
            parameters,
            model=models.get(name),
            heldout=list(selected.values()),
            earlier=past.earlier,
        )


def _reference(base: str | None) -> ArtifactReference | None:
    return ArtifactReference.parse(base) if base and base.startswith(ARTIFACT_SCHEME) else None
