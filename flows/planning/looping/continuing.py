"""The recipe of a later crawl: a pure function of the recipe and its history.

Of the promoted run it takes, by version:

- tokenizer, language models, token vectors, labels and classifiers, as --pin does;
- cut-offs of perplexity and of classifiers' curves (role calibration of cut);
- the last phase's checkpoint, as `model.base` and as the model `base` that scores are compared
  with;

and of it and the runs before it the selected documents, as `dedup.history`, and their held-out
text, which evaluation scores as `earlier/CATEGORY`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.planning.looping.history import History, PastRun
from flows.recipe.evaluated import EvaluationSection
from flows.recipe.references import ArtifactReference
from flows.recipe.sections import Recipe
from infra.differences import differences
from tasks.classifier.stage import STAGE as CLASSIFIER
from tasks.cut.stage import STAGE as CUT
from tasks.labels.stage import STAGE as LABELS
from tasks.language_model.stage import STAGE as LANGUAGE_MODEL
from tasks.model.stage import ModelParameters
from tasks.token_vectors.stage import STAGE as TOKEN_VECTORS
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tasks.training.phases.section import TrainingSection
from tasks.training.recipe.mixtures import categories_of
from tasks.training.stage import STAGE as TRAINING

KEPT = {
    TOKENIZER.name: "tokenizer",
    LANGUAGE_MODEL.name: "language_models",
    LABELS.name: "labels",
    CLASSIFIER.name: "classifiers",
    TOKEN_VECTORS.name: "embeddings",
}
"""Stages whose artifacts stay those of the promoted run, and their sections."""


@dataclass(frozen=True)
class Past:
    """What the graph of a later crawl takes from runs before it; nothing, for a first run.

    `pins`: node -> version. `earlier`: select artifacts whose held-out text is scored. `promoted`:
    all artifacts of the run that is continued.
    """

    pins: Mapping[str, str] = field(default_factory=dict)
    calibration: ArtifactReference | None = None
    earlier: tuple[ArtifactReference, ...] = ()
    promoted: tuple[ArtifactReference, ...] = ()


def continued(recipe: Recipe, history: History, new: Collection[str]) -> tuple[Recipe, Past]:
    """The recipe of a run that builds on `history`, and what its graph takes from there.

    `new`: the growing sources that have files which no run has read. The others are left out, as
    are sources of reference text alone, whose language models stay.
    """
    last = history.last
    if last is None:
        return recipe, Past()
    earlier = history.selected(recipe.growing())
    pins = {id: version for id, version in last.versions.items() if id.partition("/")[0] in KEPT}
    changes: dict[str, Any] = {"sources": _sources(recipe, new, pins)}
    if recipe.dedup is not None:
        given = (*recipe.dedup.history, *map(str, earlier))
        crawls = tuple(
            tuple(name for name in crawl if name in changes["sources"])
            for crawl in recipe.dedup.crawls
        )
        changes["dedup"] = recipe.dedup.model_copy(
            update={"history": given, "crawls": tuple(filter(None, crawls))}
        )
    phases = last.named(TRAINING.name)
    base = history.of_last(f"{TRAINING.name}/{phases[-1]}") if phases else None
    if base is not None and recipe.model is not None:
        changes["model"] = _model(recipe.model, base)
        changes["training"] = _training(recipe)
        changes["evaluation"] = _evaluation(recipe)
    cut = history.of_last(f"{CUT.name}/main")
    past = Past(
        pins=pins,
        calibration=cut if cut and _same_percentiles(recipe, last) else None,
        earlier=earlier if recipe.evaluation else (),
        promoted=tuple(filter(None, map(history.of_last, last.versions))),
    )
    return recipe.model_copy(update=changes), past


def waits_for(recipe: Recipe, new: Collection[str]) -> Iterator[str]:
    """Categories that training needs and that nothing new feeds, as sentences."""
    feeding = {name for name, source in recipe.sources.items() if source.again} | set(new)
    for phase in _phases(recipe):
        for category in categories_of(phase.mixture, ()):
            sources = recipe.categories().get(category, ())
            if not feeding.intersection(sources):
                yield (
                    f"phase {phase.name} reads {category}, and {', '.join(sources)} has nothing "
                    f"new for it; add files, or a source of {category} with again: true"
                )


def without_effect(recipe: Recipe, history: History) -> Iterator[str]:
    """What the recipe says now and later runs do not follow: settings of what is kept."""
    if history.last is None or not history.last.recipe:
        return
    now = recipe.data()
    for stage, section in KEPT.items():
        if history.last.named(stage):
            for path, before, after in differences(
                history.last.recipe.get(section), now.get(section), section
            ):
                yield (
                    f"{path}: {before} -> {after} has no effect: later crawls keep what run "
                    f"{history.last.run} made; a recipe of another name begins anew"
                )


def _sources(recipe: Recipe, new: Collection[str], pins: Mapping[str, str]) -> dict[str, Any]:
    wanted = set(new) | {name for name, source in recipe.sources.items() if source.again}
    for language, section in recipe.language_models.items():
        if f"{LANGUAGE_MODEL.name}/{language}" not in pins:
            wanted |= set(section.sources)
    for name, rubric in recipe.labels.items():
        if f"{LABELS.name}/{name}" not in pins:
            wanted |= set(rubric.sources)
    for name in recipe.classifiers:
        if f"{CLASSIFIER.name}/{name}" not in pins:
            wanted |= set(recipe.learned_from(name))
    return {name: source for name, source in recipe.sources.items() if name in wanted}


def _model(section: ModelParameters, base: ArtifactReference) -> ModelParameters:
    """Layers and context are those of the base already."""
    return section.model_copy(
        update={"base": str(base), "create": None, "layers": None, "context": None}
    )


def _phases(recipe: Recipe) -> tuple[Any, ...]:
    """The phases that a later crawl goes through."""
    if recipe.training is None or recipe.loop is None:
        return ()
    named = recipe.loop.phases
    return tuple(p for p in recipe.training.phases if named is None or p.name in named)


def _training(recipe: Recipe) -> TrainingSection | None:
    if recipe.training is None:
        return None
    phases = tuple(phase.model_copy(update={"context": None}) for phase in _phases(recipe))
    return recipe.training.model_copy(update={"phases": phases})


def _evaluation(recipe: Recipe) -> EvaluationSection | None:
    """The promoted model, and those of the phases that run again, the last of them always."""
    if recipe.evaluation is None:
        return None
    phases = [phase.name for phase in _phases(recipe)]
    asked = recipe.evaluated_models()
    models = dict.fromkeys(name for name in asked if name in (*phases, "model"))
    models |= dict.fromkeys(phases[-1:])
    others = [one for one in recipe.evaluation.models or () if not isinstance(one, str)]
    return recipe.evaluation.model_copy(update={"models": ("base", *models, *others)})


def _same_percentiles(recipe: Recipe, last: PastRun) -> bool:
    """Whether the cut-offs to keep are those that the recipe asks for."""
    before = last.recipe.get("percentiles")
    return before is None or before == recipe.percentiles.model_dump(mode="json")
