"""Checks of deduplication: what its section names, and what depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flows.recipe.checks.names import unknown_names
from flows.recipe.references import ArtifactReference
from tasks.duplicates.preferences import PREFERENCES

if TYPE_CHECKING:
    from flows.recipe.duplicates import DedupSection
    from flows.recipe.sections import Recipe


def check_dedup(recipe: Recipe) -> list[str]:
    """What dedup names exists; without dedup, nothing may depend on it."""
    meaningless = list(_check_sources(recipe))
    if recipe.dedup is not None:
        return [
            *meaningless,
            *_check_crawls(recipe, recipe.dedup),
            *_check_preferences(recipe, recipe.dedup),
            *_check_history(recipe, recipe.dedup),
        ]
    if not recipe.categories():
        return meaningless
    problems = meaningless
    if recipe.select.heldout is not None:
        problems.append(
            "select.heldout: without dedup, copies of held-out text would be trained on; write "
            "`select: {heldout: null}`, or remove `dedup: null`"
        )
    if recipe.select.index and "index" in recipe.select.model_fields_set:
        problems.append(
            "select.index: an index is made from dedup's signatures; remove it, or remove "
            "`dedup: null`"
        )
    return problems


def _check_sources(recipe: Recipe) -> Iterator[str]:
    """A source says whether it is deduplicated only where anything is."""
    for name, source in recipe.sources.items():
        if "dedup" not in source.model_fields_set:
            continue
        if recipe.dedup is None:
            yield f"sources.{name}.dedup: the recipe says `dedup: null`, so nothing is; remove it"
        elif source.category is None:
            yield (
                f"sources.{name}.dedup: the source has no category, so no training reads it and it "
                "is not deduplicated; remove it"
            )


def _check_crawls(recipe: Recipe, dedup: DedupSection) -> list[str]:
    named = [source for crawl in dedup.crawls for source in crawl]
    reference_only = [
        f"dedup.crawls: {name!r} has no category, so it is not deduplicated; remove it"
        for name in named
        if name in recipe.sources and recipe.sources[name].category is None
    ]
    apart = [
        f"dedup.crawls: {name!r} has `dedup: false`; remove one of the two"
        for name in named
        if name in recipe.sources and not recipe.sources[name].dedup
    ]
    return [*unknown_names("dedup.crawls", named, recipe.sources), *reference_only, *apart]


def _check_preferences(recipe: Recipe, dedup: DedupSection) -> list[str]:
    """A preferred column that no source has would silently prefer nothing."""
    if "prefer" not in dedup.model_fields_set:
        return []
    absent = {
        section
        for section in ("langid", "quality", "perplexity")
        if all(getattr(source, section) is None for source in recipe.sources.values())
    }
    return [
        f"dedup.prefer: {column!r} comes from a source's section {PREFERENCES[column]}, and no "
        "source has one; add it, or remove the column"
        for column in (entry.removeprefix("-") for entry in dedup.prefer)
        if PREFERENCES[column] in absent
    ]


def _check_history(recipe: Recipe, dedup: DedupSection) -> list[str]:
    """A recipe whose history is its own latest selection would drop on every second run all that
    it kept on the run before.
    """
    own = [
        reference
        for reference in dedup.history
        if (named := ArtifactReference.parse(reference)).recipe == recipe.name
        and named.name in recipe.sources
        and named.selector == "latest"
    ]
    return [
        f"dedup.history: {reference} is this recipe's own selection, so each run would drop what "
        "the last one kept; name another recipe's artifact, or this one's by version "
        "(@VERSION)"
        for reference in own
    ]
