"""From a recipe to the graph of its stages.

Annotate every source; cut and deduplicate all sources together; select; expand the tokenizer and
the model; bin; train phase by phase; evaluate; report.
"""

from __future__ import annotations

from flows.planning.documents import TEXT_STAGES, add_documents
from flows.planning.graph import Graph
from flows.planning.looping.continuing import Past
from flows.planning.model_nodes import add_evaluations, add_models
from flows.planning.roles import MAIN, Wiring, narrowed
from flows.recipe.sections import Recipe
from tasks.binning.stage import STAGE as BINNING
from tasks.documents.proposals import is_proxy
from tasks.evaluation.stage import STAGE as EVALUATION
from tasks.mixture.stage import STAGE as MIXTURE
from tasks.model.stage import STAGE as MODEL
from tasks.report.stage import STAGE as REPORT
from tasks.report.stage import ReportParameters
from tasks.scorecard.stage import STAGE as SCORECARD
from tasks.scorecard.stage import ScorecardParameters
from tasks.shares.stage import STAGE as SHARES
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tasks.training.stage import STAGE as TRAINING

STAGES = (
    *TEXT_STAGES,
    TOKENIZER,
    MODEL,
    BINNING,
    MIXTURE,
    SHARES,
    TRAINING,
    EVALUATION,
    SCORECARD,
    REPORT,
)
"""All stages in running order."""


def stages(recipe: Recipe, past: Past | None = None) -> Graph:
    """All nodes of a recipe, in running order. `past`: what a run of a loop takes from those before
    it.
    """
    graph, past = Graph(), past or Past()
    selected = add_documents(recipe, Wiring(graph), past)
    models = add_models(recipe, graph, selected)
    add_evaluations(recipe, graph, selected, models, past)
    if recipe.loop is not None:
        again = tuple(name for name, source in recipe.sources.items() if source.again)
        limits = narrowed(ScorecardParameters, recipe.loop, again=again)
        graph.add(SCORECARD, MAIN, limits, run=list(graph.nodes), promoted=past.promoted)
    by_stage: dict[str, list[str]] = {}
    for id, node in graph.nodes.items():
        if is_proxy(id):
            continue  # the report shows them as what a mixture was found by
        by_stage.setdefault(node.stage.name, []).append(id)
    hardware = recipe.training.hardware if recipe.training else None
    report = ReportParameters(
        recipe=recipe.name,
        dollars_per_hour=hardware.count * hardware.dollars_per_hour if hardware else None,
        stated=recipe.data(),
    )
    graph.add(REPORT, recipe.name, report, **by_stage)
    return graph
