"""The part of a recipe's graph that makes training text: ingest to select, source by source."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from flows.planning.classifiers import add_classifiers, add_scores
from flows.planning.looping.continuing import Past
from flows.planning.roles import MAIN, Wiring, narrowed
from flows.recipe.duplicates import DedupSection, SemanticSection
from flows.recipe.references import ArtifactReference, is_artifact
from flows.recipe.sections import DecontaminateSection, Recipe, Source
from infra.stage import Parameters, Stage
from tasks.classifier.stage import STAGE as CLASSIFIER
from tasks.cut.stage import STAGE as CUT
from tasks.cut.stage import CutParameters, SourceCut
from tasks.decontaminate.stage import STAGE as DECONTAMINATE
from tasks.decontaminate.stage import DecontaminateParameters
from tasks.dedup.stage import STAGE as DEDUP
from tasks.dedup.stage import DedupParameters
from tasks.duplicates.preferences import PREFERENCES
from tasks.embeddings.stage import BASE, EmbeddingsParameters
from tasks.embeddings.stage import STAGE as EMBEDDINGS
from tasks.ingest.stage import STAGE as INGEST
from tasks.labels.stage import STAGE as LABELS
from tasks.langid.stage import STAGE as LANGID
from tasks.language_model.stage import STAGE as LANGUAGE_MODEL
from tasks.language_model.stage import LanguageModelParameters
from tasks.line_dedup.stage import STAGE as LINE_DEDUP
from tasks.neighbours.stage import STAGE as NEIGHBOURS
from tasks.neighbours.stage import NeighboursParameters
from tasks.perplexity.stage import STAGE as PERPLEXITY
from tasks.pii.stage import STAGE as PII
from tasks.quality.stage import STAGE as QUALITY
from tasks.scores.stage import STAGE as SCORES
from tasks.select.stage import STAGE as SELECT
from tasks.semantic.stage import STAGE as SEMANTIC
from tasks.semantic.stage import SemanticParameters
from tasks.signatures.stage import STAGE as SIGNATURES
from tasks.signatures.stage import SignaturesParameters
from tasks.token_vectors.stage import STAGE as TOKEN_VECTORS
from tasks.token_vectors.stage import TokenVectorsParameters

SOURCE_STAGES = (INGEST, LINE_DEDUP, LANGID, QUALITY, PII)
"""Stages with one node per source that has their section, in running order. Their inputs are
artifacts of the same source, found by role.
"""

TEXT_STAGES = (
    *SOURCE_STAGES,
    TOKEN_VECTORS,
    EMBEDDINGS,
    LABELS,
    CLASSIFIER,
    SCORES,
    LANGUAGE_MODEL,
    PERPLEXITY,
    SIGNATURES,
    DECONTAMINATE,
    CUT,
    DEDUP,
    NEIGHBOURS,
    SEMANTIC,
    SELECT,
)
"""All stages of this part, in running order."""


def add_documents(recipe: Recipe, wiring: Wiring, past: Past) -> dict[str, str]:
    """Add ingest to select to the graph; returns source -> its select node."""
    for stage in SOURCE_STAGES:
        _annotate_sources(recipe, wiring, stage)
    _embed(recipe, wiring)
    add_classifiers(recipe, wiring, past)
    scores = add_scores(recipe, wiring)
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
    wiring.add(CUT, MAIN, cut, trained_on, calibration=calibration, scores=scores)
    if recipe.dedup is not None and compared:
        preferred = {PREFERENCES[column.removeprefix("-")] for column in recipe.dedup.prefer}
        unread = {"langid", "quality", "perplexity"} - preferred
        history = [ArtifactReference.parse(earlier) for earlier in recipe.dedup.history]
        thresholds = narrowed(DedupParameters, recipe.dedup)
        wiring.add(DEDUP, MAIN, thresholds, compared, unread, history=history)
        if (semantic := recipe.semantic) is not None:
            _add_semantic(recipe, wiring, semantic, recipe.dedup, unread)
    return {name: _select(recipe, wiring, name, name in compared) for name in trained_on}


def _add_semantic(
    recipe: Recipe,
    wiring: Wiring,
    section: SemanticSection,
    dedup: DedupSection,
    unread: Collection[str],
) -> None:
    """Add the search for near vectors, and the election among them where documents are dropped."""
    near = recipe.near()
    if not near:
        return  # in this run of a loop
    given = map(ArtifactReference.parse, dedup.history)
    history = [earlier for earlier in given if earlier.name not in recipe.apart()]
    search = narrowed(NeighboursParameters, section)
    wiring.add(NEIGHBOURS, MAIN, search, near, history=history)
    if section.keep is not None:
        crawls = tuple(tuple(name for name in crawl if name in near) for crawl in dedup.crawls)
        order = {"prefer": dedup.prefer, "crawls": tuple(filter(None, crawls))}
        limits = narrowed(SemanticParameters, section, **order)
        wiring.add(SEMANTIC, MAIN, limits, near, unread, history=history)


_OF_COMPARED = ("dedup", "semantic", "signatures", "embeddings")
"""What select reads of a source whose documents are compared with others."""


def _select(recipe: Recipe, wiring: Wiring, name: str, is_compared: bool) -> str:
    """Add the node that selects a source's documents; one whose documents are compared with none
    holds nothing out, as copies of that could be trained on, and has nothing to index.
    """
    unread = [] if _removes_passages(recipe) else ["decontaminate"]
    unread += [] if recipe.select.index else ["signatures"]
    unread += [] if recipe.select.index and name in recipe.near() else ["embeddings"]
    unread += ["semantic"] if name in recipe.apart() else []
    if is_compared or recipe.dedup is None:
        return wiring.add(SELECT, name, recipe.select, without=unread)
    alone = recipe.select.model_copy(update={"heldout": None, "index": False})
    return wiring.add(SELECT, name, alone, without=[*unread, *_OF_COMPARED])


def _embed(recipe: Recipe, wiring: Wiring) -> None:
    """Add the nodes that give documents vectors, and of the base, one that weights its tokens."""
    section, embedded = recipe.embeddings, recipe.embedded()
    if section is None or not embedded:
        return
    if section.of_base:
        own = recipe.model.base if recipe.model else None
        base = own if section.model == BASE else section.model
        reference = ArtifactReference.parse(base) if base and is_artifact(base) else None
        parameters = narrowed(TokenVectorsParameters, section, model=None if reference else base)
        wiring.add(TOKEN_VECTORS, MAIN, parameters, embedded, base=[reference] if reference else [])
        section = section.model_copy(update={"model": None})
    for name in embedded:
        wiring.add(EMBEDDINGS, name, narrowed(EmbeddingsParameters, section))


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
        classifiers={name: one for name, one in source.classifiers.items() if one.keep},
    )


def _removes_passages(recipe: Recipe) -> bool:
    return recipe.decontaminate is not None and recipe.decontaminate.action == "passage"


def _decontaminate(recipe: Recipe) -> DecontaminateParameters:
    against = {name: recipe.benchmarks[name] for name in recipe.searched_for()}
    return narrowed(DecontaminateParameters, recipe.decontaminate, against=against)
