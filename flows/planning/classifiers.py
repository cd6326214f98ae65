"""The part of a recipe's graph that judges quality: rubrics, classifiers, scores of sources."""

from __future__ import annotations

from flows.planning.looping.continuing import Past
from flows.planning.roles import Wiring, narrowed
from flows.recipe.sections import Recipe
from infra.stage import Stage
from tasks.classifier.stage import STAGE as CLASSIFIER
from tasks.classifier.stage import ClassifierParameters
from tasks.documents.scoring import scores_name
from tasks.embeddings.stage import STAGE as EMBEDDINGS
from tasks.ingest.stage import STAGE as INGEST
from tasks.labels.stage import STAGE as LABELS
from tasks.labels.stage import LabelsParameters
from tasks.langid.stage import STAGE as LANGID
from tasks.line_dedup.stage import STAGE as LINE_DEDUP
from tasks.scores.stage import STAGE as SCORES
from tasks.scores.stage import ScoresParameters


def add_classifiers(recipe: Recipe, wiring: Wiring, past: Past) -> None:
    """Add the rubrics, and the classifiers that learn from them or from sources. Those that a loop
    keeps read nothing.
    """
    for name, rubric in recipe.labels.items():
        without = _roles(LABELS) if f"{LABELS.name}/{name}" in past.pins else ()
        wiring.add(LABELS, name, narrowed(LabelsParameters, rubric), rubric.sources, without)
    for name, section in recipe.classifiers.items():
        parameters = narrowed(ClassifierParameters, section)
        if section.model is not None or f"{CLASSIFIER.name}/{name}" in past.pins:
            wiring.add(CLASSIFIER, name, parameters, (), _roles(CLASSIFIER))
            continue
        labels = (f"{LABELS.name}/{section.labels}",) if section.labels is not None else ()
        wiring.add(
            CLASSIFIER,
            name,
            parameters,
            recipe.learned_from(name),
            () if section.kind == "linear" else ("embeddings",),
            labels=labels,
        )


def add_scores(recipe: Recipe, wiring: Wiring) -> list[str]:
    """Add a node for each classifier of each source; returns those that cut reads."""
    read = []
    for source, section in recipe.sources.items():
        for classifier, use in section.classifiers.items():
            linear = recipe.classifiers[classifier].kind == "linear"
            inputs = {
                role: [found]
                for role, stage in (
                    ("documents", INGEST),
                    ("line_dedup", LINE_DEDUP),
                    ("langid", LANGID),
                    *((("embeddings", EMBEDDINGS),) if linear else ()),
                )
                if (found := wiring.added.get(stage.name, {}).get(source)) is not None
            }
            node = wiring.add(
                SCORES,
                scores_name(source, classifier),
                ScoresParameters(),
                without=_roles(SCORES),
                **inputs,
                classifier=[f"{CLASSIFIER.name}/{classifier}"],
            )
            if use.keep is not None and section.category is not None:
                read.append(node)
    return read


def _roles(stage: Stage) -> list[str]:
    return [role.name for role in stage.inputs]
