"""Checks of rubrics and classifiers: what they name, and what their scores decide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flows.recipe.checks.names import unknown_names
from tasks.documents.curves import Curve
from tasks.documents.keep import ScoreKeep

if TYPE_CHECKING:
    from flows.recipe.quality import ClassifierSection
    from flows.recipe.sections import Recipe, Source


def check_classifiers(recipe: Recipe) -> Iterator[str]:
    """Everything named exists, learns from what is there, and decides what can be decided."""
    for name, rubric in recipe.labels.items():
        yield from unknown_names(f"labels.{name}.sources", rubric.sources, recipe.sources)
        if rubric.languages is not None:
            yield from _without_langid(f"labels.{name}.languages", rubric.sources, recipe)
    for name, section in recipe.classifiers.items():
        yield from _check_classifier(name, section, recipe)
    for name, source in recipe.sources.items():
        yield from unknown_names(
            f"sources.{name}.classifiers", tuple(source.classifiers), recipe.classifiers
        )
        yield from _check_source(name, source, recipe)


def _check_classifier(name: str, section: ClassifierSection, recipe: Recipe) -> Iterator[str]:
    place = f"classifiers.{name}"
    yield from unknown_names(f"{place}.good", section.good, recipe.sources)
    yield from unknown_names(f"{place}.bad", section.bad, recipe.sources)
    sources: tuple[str, ...] = (*section.good, *section.bad)
    if section.labels is not None:
        yield from unknown_names(f"{place}.labels", (section.labels,), recipe.labels)
        rubric = recipe.labels.get(section.labels)
        if rubric is not None:
            sources = rubric.sources
            low, high = rubric.score.low, rubric.score.high
            if not low < section.threshold <= high:
                yield (
                    f"{place}.threshold: scores of {section.labels} are from {low:g} to {high:g}, "
                    f"so {section.threshold:g} calls all or none of them good; name a number in "
                    "between"
                )
    if section.kind == "linear" and recipe.embeddings is None:
        yield (
            f"{place}.kind: linear reads vectors of documents; add a section embeddings, or write "
            "kind: fasttext"
        )
    if section.languages is not None and section.model is None:
        yield from _without_langid(f"{place}.languages", sources, recipe)


def _without_langid(place: str, sources: tuple[str, ...], recipe: Recipe) -> Iterator[str]:
    without = [
        name for name in sources if name in recipe.sources and recipe.sources[name].langid is None
    ]
    if without:
        yield (
            f"{place}: languages of {', '.join(without)} are not known; add "
            f"sources.{without[0]}.langid, or remove it"
        )


def _check_source(name: str, source: Source, recipe: Recipe) -> Iterator[str]:
    kept = source.langid.keep.languages if source.langid and source.langid.keep else None
    repeating = []
    for classifier, use in source.classifiers.items():
        place = f"sources.{name}.classifiers.{classifier}"
        section = recipe.classifiers.get(classifier)
        if use.keep is not None and source.category is None:
            yield (
                f"{place}.keep: the source has no category, so no training reads it and cut does "
                "not apply to it; give it a category, or remove keep"
            )
        if isinstance(use.keep, Curve) and any(f not in (0, 1) for f in use.keep.factors):
            repeating.append(classifier)
        if section is not None and isinstance(use.keep, ScoreKeep):
            yield from _check_threshold(f"{place}.keep", classifier, section, use.keep)
        if section is None or use.keep is None or "unscored" in use.model_fields_set:
            continue
        foreign = [code for code in kept or () if code not in (section.languages or (code,))]
        if foreign:
            yield (
                f"{place}: langid keeps {', '.join(foreign)}, which {classifier} does not score "
                f"(its languages are {', '.join(section.languages or ())}); say what becomes of "
                "them: unscored: keep, or drop"
            )
    if len(repeating) > 1:
        yield (
            f"sources.{name}.classifiers: {' and '.join(repeating)} both repeat documents, and a "
            "document has one number of repeats; leave one curve, and make the others drop or "
            "keep (factors 0 and 1)"
        )


def _check_threshold(
    place: str, name: str, section: ClassifierSection, keep: ScoreKeep
) -> Iterator[str]:
    probability = section.model is None and section.target == "probability"
    if probability and not any(map(keep.passes, (0.0, 1.0))):
        yield (
            f"{place}: scores of {name} are probabilities, from 0 to 1, and none is "
            f"{keep.comparison}{keep.limit:g}; name a number in between"
        )
