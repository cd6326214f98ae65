"""The list of stages: what a recipe becomes. Annotate every source, cut and deduplicate them
together, select, grow the tokenizer and the model, bin, train phase by phase, evaluate, report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.planning.graph import Graph
from flows.recipe.references import ARTIFACT_SCHEME, ArtifactReference
from flows.recipe.sections import DecontaminateSection, Recipe, Source
from infra.stage import Parameters
from tasks.binning.stage import STAGE as BINNING
from tasks.cut.stage import STAGE as CUT
from tasks.cut.stage import CutParameters, SourceCut
from tasks.decontaminate.stage import STAGE as DECONTAMINATE
from tasks.decontaminate.stage import DecontaminateParameters
from tasks.dedup.stage import PREFERENCES, DedupParameters
from tasks.dedup.stage import STAGE as DEDUP
from tasks.evaluation.stage import STAGE as EVALUATION
from tasks.evaluation.stage import EvaluationParameters
from tasks.ingest.stage import STAGE as INGEST
from tasks.langid.stage import STAGE as LANGID
from tasks.langid.stage import LangidParameters
from tasks.language_model.stage import STAGE as LANGUAGE_MODEL
from tasks.language_model.stage import LanguageModelParameters
from tasks.line_dedup.stage import STAGE as LINE_DEDUP
from tasks.model.stage import STAGE as MODEL
from tasks.perplexity.stage import STAGE as PERPLEXITY
from tasks.perplexity.stage import PerplexityParameters
from tasks.quality.stage import STAGE as QUALITY
from tasks.quality.stage import QualityParameters
from tasks.report.stage import STAGE as REPORT
from tasks.report.stage import ReportParameters
from tasks.select.stage import STAGE as SELECT
from tasks.signatures.stage import STAGE as SIGNATURES
from tasks.signatures.stage import SignaturesParameters
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tasks.training.stage import STAGE as TRAINING

MAIN = "main"
"""The name of stages that a recipe has one of."""


def stages(recipe: Recipe) -> Graph:
    """All nodes of a recipe, in running order."""
    graph = Graph()
    selected = _documents(recipe, graph)
    models = _models(recipe, graph, selected)
    _evaluations(recipe, graph, selected, models)
    everything: dict[str, list[str]] = {}
    for id, node in graph.nodes.items():
        everything.setdefault(node.stage.name, []).append(id)
    graph.add(REPORT, recipe.name, ReportParameters(recipe=recipe.name), **everything)
    return graph


def _documents(recipe: Recipe, graph: Graph) -> dict[str, str]:
    """Recipe to selected documents; returns source -> its select node."""
    documents = {
        name: graph.add(INGEST, name, source.ingest) for name, source in recipe.sources.items()
    }
    edited = {
        name: graph.add(LINE_DEDUP, name, source.line_dedup, documents=documents[name])
        for name, source in recipe.sources.items()
        if source.line_dedup
    }
    read = {
        name: {"documents": documents[name], "line_dedup": edited.get(name)}
        for name in recipe.sources
    }
    languages = {
        name: graph.add(LANGID, name, _part(LangidParameters, source.langid), **read[name])
        for name, source in recipe.sources.items()
        if source.langid
    }
    quality = {
        name: graph.add(
            QUALITY,
            name,
            _part(QualityParameters, source.quality),
            **read[name],
            langid=languages.get(name),
        )
        for name, source in recipe.sources.items()
        if source.quality
    }
    language_models = [
        graph.add(
            LANGUAGE_MODEL,
            language,
            _part(LanguageModelParameters, section, held_out=_held_out(recipe, section.sources)),
            documents=[documents[name] for name in section.sources],
            langid=[languages[name] for name in section.sources if name in languages],
            line_dedup=[edited[name] for name in section.sources if name in edited],
        )
        for language, section in recipe.language_models.items()
    ]
    perplexity = {
        name: graph.add(
            PERPLEXITY,
            name,
            _part(PerplexityParameters, source.perplexity),
            **read[name],
            langid=languages[name],
            models=language_models,
        )
        for name, source in recipe.sources.items()
        if source.perplexity
    }
    trained_on = {name: source for name, source in recipe.sources.items() if source.category}
    if not trained_on:
        return {}
    signatures = {
        name: graph.add(SIGNATURES, name, _part(SignaturesParameters, recipe.dedup), **read[name])
        for name in trained_on
        if recipe.dedup
    }
    contaminated = {
        name: graph.add(DECONTAMINATE, name, _decontaminate(recipe), **read[name])
        for name in trained_on
        if recipe.searched_for()
    }
    cut = graph.add(
        CUT,
        MAIN,
        CutParameters(
            sources={name: _keeps(recipe, source) for name, source in trained_on.items()},
            **recipe.percentiles.model_dump(),
        ),
        documents=[documents[name] for name in trained_on],
        langid=[languages[name] for name in trained_on if name in languages],
        quality=[quality[name] for name in trained_on if name in quality],
        perplexity=[perplexity[name] for name in trained_on if name in perplexity],
        decontaminate=list(contaminated.values()),
        line_dedup=[edited[name] for name in trained_on if name in edited],
    )
    annotations = {"langid": languages, "quality": quality, "perplexity": perplexity}
    preferred = {
        PREFERENCES[column.removeprefix("-")]
        for column in (recipe.dedup.prefer if recipe.dedup else ())
    }
    dedup = None
    if recipe.dedup is not None:
        dedup = graph.add(
            DEDUP,
            MAIN,
            _part(DedupParameters, recipe.dedup),
            cut=cut,
            documents=[documents[name] for name in trained_on],
            signatures=list(signatures.values()),
            line_dedup=[edited[name] for name in trained_on if name in edited],
            history=[ArtifactReference.parse(earlier) for earlier in recipe.dedup.history],
            **{
                stage: [nodes[name] for name in trained_on if name in nodes]
                for stage, nodes in annotations.items()
                if stage in preferred
            },
        )
    return {
        name: graph.add(
            SELECT,
            name,
            recipe.select,
            **read[name],
            cut=cut,
            dedup=dedup,
            decontaminate=contaminated.get(name) if _takes_passages(recipe) else None,
            signatures=signatures.get(name) if recipe.select.index else None,
        )
        for name in trained_on
    }


def _models(
    recipe: Recipe, graph: Graph, selected: dict[str, str]
) -> dict[str, str | ArtifactReference]:
    """Tokenizer to the last phase; returns model name -> what holds its checkpoint."""
    models: dict[str, str | ArtifactReference] = {}
    if recipe.tokenizer is None:
        return models
    categories = recipe.categories()
    feeds = {source: recipe.sources[source].categories() for source in selected}
    tokenizer = graph.add(
        TOKENIZER,
        MAIN,
        recipe.tokenizer.learning_from(feeds),
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
    used = [
        c
        for phase in recipe.training.phases
        for c in (categories if phase.mixture == "buckets" else phase.mixture)
    ]
    bins = {
        category: graph.add(
            BINNING,
            category,
            recipe.binning,
            select=[selected[source] for source in categories[category]],
            tokenizer=tokenizer,
        )
        for category in categories
        if category in used
    }
    previous = model
    for phase in recipe.training.phases:
        mixture = list(categories) if phase.mixture == "buckets" else list(phase.mixture)
        previous = graph.add(
            TRAINING,
            phase.name,
            recipe.training.node(phase.name, recipe.binning.sequence_length),
            previous=previous,
            bins=[bins[category] for category in mixture],
        )
        models[phase.name] = previous
    return models


def _evaluations(
    recipe: Recipe,
    graph: Graph,
    selected: dict[str, str],
    models: dict[str, str | ArtifactReference],
) -> None:
    section = recipe.evaluation
    if section is None:
        return
    against = (
        recipe.searched_for()
        if recipe.decontaminate and recipe.decontaminate.action != "report"
        else ()
    )
    for name in recipe.evaluated_models():
        parameters = _part(
            EvaluationParameters,
            section,
            benchmarks={task: recipe.benchmarks[task] for task in section.tasks},
            decontaminated=tuple(task for task in section.tasks if task in against),
            model=recipe.model.base
            if recipe.model and name == "base" and name not in models
            else None,
        )
        graph.add(
            EVALUATION, name, parameters, model=models.get(name), heldout=list(selected.values())
        )


def _held_out(recipe: Recipe, sources: Sequence[str]) -> dict[str, float]:
    """Of reference sources that are trained on too, the share that evaluation may hold out."""
    heldout = recipe.select.heldout
    return {name: heldout.fraction for name in sources if heldout and recipe.sources[name].category}


def _keeps(recipe: Recipe, source: Source) -> SourceCut:
    section = recipe.decontaminate or DecontaminateSection.model_validate({})
    return SourceCut(
        langid=source.langid.keep if source.langid else None,
        quality=source.quality.keep if source.quality else None,
        perplexity=source.perplexity.keep if source.perplexity else None,
        category=source.category,
        decontaminate=section.action,
        passage_share=section.passage_share,
    )


def _takes_passages(recipe: Recipe) -> bool:
    return recipe.decontaminate is not None and recipe.decontaminate.action == "passage"


def _decontaminate(recipe: Recipe) -> DecontaminateParameters:
    against = {name: recipe.benchmarks[name] for name in recipe.searched_for()}
    parameters: DecontaminateParameters = _part(
        DecontaminateParameters, recipe.decontaminate, against=against
    )
    return parameters


def _reference(base: str | None) -> ArtifactReference | None:
    return ArtifactReference.parse(base) if base and base.startswith(ARTIFACT_SCHEME) else None


def _part(kind: type[Any], section: Parameters | None, /, **changes: Any) -> Any:
    """The stage's own parameters out of a recipe section that holds more."""
    values = {
        name: getattr(section, name)
        for name in kind.model_fields
        if hasattr(section, name) and name not in changes
    }
    return kind(**values, **changes)
