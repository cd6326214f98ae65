"""From a recipe to the graph of its stages.

Annotate every source; cut and deduplicate all sources together; select; expand the tokenizer and
the model; bin; train phase by phase; evaluate; report.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from flows.planning.graph import Graph
from flows.planning.looping.continuing import Past
from flows.planning.model_nodes import add_evaluations, add_models
from flows.planning.narrowing import MAIN, narrowed
from flows.recipe.references import ArtifactReference
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
from tasks.scorecard.stage import STAGE as SCORECARD
from tasks.scorecard.stage import ScorecardParameters
from tasks.select.stage import STAGE as SELECT
from tasks.signatures.stage import STAGE as SIGNATURES
from tasks.signatures.stage import SignaturesParameters
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tasks.training.stage import STAGE as TRAINING

SOURCE_STAGES = (INGEST, LINE_DEDUP, LANGID, QUALITY, PII)
"""Stages with one node per source that has their section, in running order. Their inputs are
artifacts of the same source, found by role.
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
    SCORECARD,
    REPORT,
)
"""All stages in running order."""


def stages(recipe: Recipe, past: Past | None = None) -> Graph:
    """All nodes of a recipe, in running order. `past`: what a run of a loop takes from those before
    it.
    """
    graph, past = Graph(), past or Past()
    selected = _documents(recipe, Wiring(graph), past)
    models = add_models(recipe, graph, selected)
    add_evaluations(recipe, graph, selected, models, past)
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


@dataclass
class Wiring:
    """Adds nodes to a graph and connects them by the roles that their stages declare."""

    graph: Graph
    added: dict[str, dict[str, str]] = field(default_factory=dict)
    """Stage -> name -> the node's id."""

    def add(
        self,
        stage: Stage,
        name: str,
        parameters: Parameters,
        sources: Iterable[str] | None = None,
        without: Collection[str] = (),
        **given: Sequence[ArtifactReference],
    ) -> str:
        """Add a node with its inputs, and return its id.

        A role of one artifact gets the node with the same name, else the stage's `MAIN` node. A
        role of many gets the nodes of `sources` (None: of all). Roles in `without` stay empty, and
        those in `given` get these artifacts.
        """
        names = None if sources is None else list(sources)
        inputs: dict[str, Sequence[str | ArtifactReference]] = {
            role.name: self._inputs(role, name, names)
            for role in stage.inputs
            if role.name not in without and role.name not in given
        }
        inputs |= given
        id = self.graph.add(stage, name, parameters, **inputs)
        self.added.setdefault(stage.name, {})[name] = id
        return id

    def _inputs(self, role: Role, name: str, sources: list[str] | None) -> list[str]:
        ids: list[str] = []
        for stage in role.stages:
            by_name = self.added.get(stage, {})
            if role.many:
                ids += [by_name[source] for source in sources or by_name if source in by_name]
            elif id := by_name.get(name, by_name.get(MAIN)):
                ids.append(id)
        return ids


def _documents(recipe: Recipe, wiring: Wiring, past: Past) -> dict[str, str]:
    """Add ingest to select; returns source -> its select node."""
    for stage in SOURCE_STAGES:
        _annotate_sources(recipe, wiring, stage)
    for language, section in recipe.language_models.items():
        held_out = _held_out(recipe, section.sources)
        parameters = narrowed(LanguageModelParameters, section, held_out=held_out)
        made = section.pretrained or f"{LANGUAGE_MODEL.name}/{language}" in past.pins
        without = [role.name for role in LANGUAGE_MODEL.inputs] if made else ()
        wiring.add(LANGUAGE_MODEL, language, parameters, section.sources, without)
    _annotate_sources(recipe, wiring, PERPLEXITY)
    trained_on = {name: source for name, source in recipe.sources.items() if source.category}
    if not trained_on:
        return {}
    compared = recipe.compared()
    if recipe.dedup is not None:
        for name in compared:
            wiring.add(SIGNATURES, name, narrowed(SignaturesParameters, recipe.dedup))
    if recipe.searched_for():
        for name in trained_on:
            wiring.add(DECONTAMINATE, name, _decontaminate(recipe))
    keeps = {name: _keeps(recipe, source) for name, source in trained_on.items()}
    percentiles = recipe.percentiles.model_dump()
    cut = CutParameters(sources=keeps, block=recipe.block, **percentiles)
    calibration = (past.calibration,) if past.calibration else ()
    wiring.add(CUT, MAIN, cut, trained_on, calibration=calibration)
    if recipe.dedup is not None and compared:
        preferred = {PREFERENCES[column.removeprefix("-")] for column in recipe.dedup.prefer}
        wiring.add(
            DEDUP,
            MAIN,
            narrowed(DedupParameters, recipe.dedup),
            compared,
            without={"langid", "quality", "perplexity"} - preferred,
            history=[ArtifactReference.parse(earlier) for earlier in recipe.dedup.history],
        )
    return {name: _select(recipe, wiring, name, name in compared) for name in trained_on}


def _select(recipe: Recipe, wiring: Wiring, name: str, is_compared: bool) -> str:
    """Add the node that selects a source's documents; one whose documents are compared with none
    holds nothing out, as copies of that could be trained on, and has nothing to index.
    """
    unread = [] if _removes_passages(recipe) else ["decontaminate"]
    unread += [] if recipe.select.index else ["signatures"]
    if is_compared or recipe.dedup is None:
        return wiring.add(SELECT, name, recipe.select, without=unread)
    alone = recipe.select.model_copy(update={"heldout": None, "index": False})
    return wiring.add(SELECT, name, alone, without=[*unread, "dedup", "signatures"])


def _annotate_sources(recipe: Recipe, wiring: Wiring, stage: Stage) -> None:
    """Add a node of the stage for every source that has its section."""
    key = stage.section.rpartition(".")[2]
    for name, source in recipe.sources.items():
        section: Parameters | None = source.reading() if stage is INGEST else getattr(source, key)
        if section is not None:
            wiring.add(stage, name, narrowed(stage.parameters, section))


def _held_out(recipe: Recipe, sources: Sequence[str]) -> dict[str, float]:
    """Reference source that is also trained on -> the fraction that select may hold out."""
    heldout, compared = recipe.select.heldout, recipe.compared()
    return {name: heldout.fraction for name in sources if heldout and name in compared}


def _keeps(recipe: Recipe, source: Source) -> SourceCut:
    """What `cut` applies to a source."""
    section = recipe.decontaminate or DecontaminateSection.model_validate({})
    return SourceCut(
        langid=source.langid.keep if source.langid else None,
        quality=source.quality.keep if source.quality else None,
        perplexity=source.perplexity.keep if source.perplexity else None,
        category=source.category,
        decontaminate=section.action,
        passage_share=section.passage_share,
        block=source.block,
    )


def _removes_passages(recipe: Recipe) -> bool:
    return recipe.decontaminate is not None and recipe.decontaminate.action == "passage"


def _decontaminate(recipe: Recipe) -> DecontaminateParameters:
    against = {name: recipe.benchmarks[name] for name in recipe.searched_for()}
    return narrowed(DecontaminateParameters, recipe.decontaminate, against=against)
