"""The list of stages: what a recipe becomes. Annotate every source, cut and deduplicate them
together, select, grow the tokenizer and the model, bin, train phase by phase, evaluate, report.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flows.planning.graph import Graph
from flows.recipe.references import ARTIFACT_SCHEME, ArtifactReference
from flows.recipe.sections import DecontaminateSection, Recipe, Source
from infra.stage import Parameters, Role, Stage
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
from tasks.language_model.stage import STAGE as LANGUAGE_MODEL
from tasks.language_model.stage import LanguageModelParameters
from tasks.line_dedup.stage import STAGE as LINE_DEDUP
from tasks.model.stage import STAGE as MODEL
from tasks.perplexity.stage import STAGE as PERPLEXITY
from tasks.pii.stage import STAGE as PII
from tasks.quality.stage import STAGE as QUALITY
from tasks.report.stage import STAGE as REPORT
from tasks.report.stage import ReportParameters
from tasks.select.stage import STAGE as SELECT
from tasks.signatures.stage import STAGE as SIGNATURES
from tasks.signatures.stage import SignaturesParameters
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tasks.training.stage import STAGE as TRAINING

MAIN = "main"
"""The name of stages that a recipe has one of."""

SOURCE_STAGES = (INGEST, LINE_DEDUP, LANGID, QUALITY, PII)
"""Stages of one source each, in running order. A source has those whose section it states; their
inputs are what their roles name, of the same source.
"""

STAGES = (
    *SOURCE_STAGES,
    LANGUAGE_MODEL,
    PERPLEXITY,
    SIGNATURES,
    DECONTAMINATE,
    CUT,
    DEDUP,
    SELECT,
    TOKENIZER,
    MODEL,
    BINNING,
    TRAINING,
    EVALUATION,
    REPORT,
)
"""All stages in running order."""


def stages(recipe: Recipe) -> Graph:
    """All nodes of a recipe, in running order."""
    graph = Graph()
    selected = _documents(recipe, Wiring(graph))
    models = _models(recipe, graph, selected)
    _evaluations(recipe, graph, selected, models)
    everything: dict[str, list[str]] = {}
    for id, node in graph.nodes.items():
        everything.setdefault(node.stage.name, []).append(id)
    graph.add(REPORT, recipe.name, ReportParameters(recipe=recipe.name), **everything)
    return graph


@dataclass
class Wiring:
    """Adds nodes whose inputs follow from the roles that their stages declare."""

    graph: Graph
    made: dict[str, dict[str, str]] = field(default_factory=dict)
    """Stage -> name -> the node's id."""

    def add(
        self,
        stage: Stage,
        name: str,
        parameters: Parameters,
        sources: Iterable[str] | None = None,
        without: Collection[str] = (),
        history: Sequence[ArtifactReference] = (),
    ) -> str:
        """Add a node: a role of one artifact gets the one of the same name, or the one there is.

        A role of many gets those of `sources` (None: all there are). Roles in `without` stay empty.
        """
        wanted = None if sources is None else list(sources)
        inputs: dict[str, Sequence[str | ArtifactReference]] = {
            role.name: self._nodes(role, name, wanted)
            for role in stage.inputs
            if role.name not in without
        }
        if history:
            inputs["history"] = history
        id = self.graph.add(stage, name, parameters, **inputs)
        self.made.setdefault(stage.name, {})[name] = id
        return id

    def _nodes(self, role: Role, name: str, sources: list[str] | None) -> list[str]:
        found: list[str] = []
        for stage in role.stages:
            by_name = self.made.get(stage, {})
            if role.many:
                found += [by_name[n] for n in sources or by_name if n in by_name]
            elif id := by_name.get(name, by_name.get(MAIN)):
                found.append(id)
        return found


def _documents(recipe: Recipe, wiring: Wiring) -> dict[str, str]:
    """Recipe to selected documents; returns source -> its select node."""
    for stage in SOURCE_STAGES:
        _of_sources(recipe, wiring, stage)
    for language, section in recipe.language_models.items():
        held_out = _held_out(recipe, section.sources)
        parameters = narrowed(LanguageModelParameters, section, held_out=held_out)
        wiring.add(LANGUAGE_MODEL, language, parameters, section.sources)
    _of_sources(recipe, wiring, PERPLEXITY)
    trained_on = {name: source for name, source in recipe.sources.items() if source.category}
    if not trained_on:
        return {}
    for name in trained_on if recipe.dedup else ():
        wiring.add(SIGNATURES, name, narrowed(SignaturesParameters, recipe.dedup))
    for name in trained_on if recipe.searched_for() else ():
        wiring.add(DECONTAMINATE, name, _decontaminate(recipe))
    keeps = {name: _keeps(recipe, source) for name, source in trained_on.items()}
    percentiles = recipe.percentiles.model_dump()
    wiring.add(CUT, MAIN, CutParameters(sources=keeps, **percentiles), trained_on)
    if recipe.dedup is not None:
        preferred = {PREFERENCES[column.removeprefix("-")] for column in recipe.dedup.prefer}
        wiring.add(
            DEDUP,
            MAIN,
            narrowed(DedupParameters, recipe.dedup),
            trained_on,
            without={"langid", "quality", "perplexity", "history"} - preferred,
            history=[ArtifactReference.parse(earlier) for earlier in recipe.dedup.history],
        )
    unread = {"decontaminate": not _takes_passages(recipe), "signatures": not recipe.select.index}
    without = [role for role, left_out in unread.items() if left_out]
    return {name: wiring.add(SELECT, name, recipe.select, without=without) for name in trained_on}


def _of_sources(recipe: Recipe, wiring: Wiring, stage: Stage) -> None:
    """Add a stage for every source that states its section."""
    key = stage.section.rpartition(".")[2]
    for name, source in recipe.sources.items():
        section: Parameters | None = getattr(source, key)
        if section is not None:
            wiring.add(stage, name, narrowed(stage.parameters, section))


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
        parameters = narrowed(
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
    return narrowed(DecontaminateParameters, recipe.decontaminate, against=against)


def _reference(base: str | None) -> ArtifactReference | None:
    return ArtifactReference.parse(base) if base and base.startswith(ARTIFACT_SCHEME) else None


P = TypeVar("P", bound=Parameters)


def narrowed(kind: type[P], section: Parameters | None, /, **changes: Any) -> P:
    """A stage's own parameters out of a recipe's section, which extends them with its own keys.

    `ValueError` for a section that does not: a stage's parameters come from one that is a kind of
    them.
    """
    if not isinstance(section, kind):
        raise ValueError(f"a section of {type(section).__name__} holds no {kind.__name__}")
    if type(section) is kind and not changes:
        return section
    return kind(**{name: getattr(section, name) for name in kind.model_fields} | changes)
