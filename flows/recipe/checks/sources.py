"""Checks of sources: their categories, the languages that settings name, their language models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flows.recipe.checks.names import unknown_names
from tasks.documents.categories import FieldCategory
from tasks.documents.selected import RESERVED_FOLDERS
from tasks.ingest.stage import WITH_FIELDS
from tasks.langid.labels import unknown_label

if TYPE_CHECKING:
    from flows.recipe.sections import Recipe, Source


def check_categories(recipe: Recipe) -> list[str]:
    """A category becomes a folder of the stage select, next to the stage's own folders."""
    problems = [
        f"sources: category {name!r} is reserved for a folder of the stage select; rename it"
        for name in recipe.categories()
        if name in RESERVED_FOLDERS
    ]
    for name, source in recipe.sources.items():
        if source.ingest.fields is not None and source.ingest.fields.category:
            problems.append(
                f"sources.{name}.ingest.fields.category: is set by the plan; write "
                f"sources.{name}.category: {{field: {source.ingest.fields.category}, of: [...]}}"
            )
        by_field = isinstance(source.category, FieldCategory)
        if by_field and source.ingest.format not in WITH_FIELDS:
            problems.append(
                f"sources.{name}.category: records of format {source.ingest.format} have no "
                f"fields (those of {', '.join(WITH_FIELDS)} have); name a category, or one for "
                "each language"
            )
    return problems


def check_block_lists(recipe: Recipe) -> Iterator[str]:
    """Only a list of the whole recipe can be withdrawn from a source, and reference text (a source
    without a category) is not cut.
    """
    for name, source in recipe.sources.items():
        withdrawn = [list_ for list_, own in source.block.items() if own is None]
        yield from unknown_names(f"sources.{name}.block", withdrawn, recipe.block)
        if source.block and source.category is None:
            yield (
                f"sources.{name}.block: the source has no category, so no training reads it and "
                "cut does not apply to it; give it a category, or remove the lists"
            )


def check_language_settings(recipe: Recipe) -> Iterator[str]:
    """Settings by language need langid, and languages that it keeps."""
    for name, source in recipe.sources.items():
        if source.langid is None:
            yield from _by_language_without_langid(name, source)
            continue
        kept = source.langid.keep.languages if source.langid.keep else None
        if not isinstance(source.category, dict) or kept is None:
            continue
        dropped = [language for language in source.category if language not in kept]
        if dropped:
            starved = dict.fromkeys(source.category[language] for language in dropped)
            yield (
                f"sources.{name}.category: langid.keep.languages drops {', '.join(dropped)} "
                f"(it keeps {', '.join(kept) or 'none'}), so nothing reaches "
                f"{', '.join(starved)}; keep the language, or remove it from the map"
            )


def _by_language_without_langid(name: str, source: Source) -> Iterator[str]:
    if isinstance(source.category, dict):
        yield (
            f"sources.{name}.category is by language, which needs language "
            f"identification; add sources.{name}.langid, or name one category for all documents"
        )
    languages = _languages_of_settings(source)
    if languages:
        yield (
            f"sources.{name}.quality.settings is by language ({', '.join(languages)}), which "
            f"needs language identification; add sources.{name}.langid, or write '*' for all"
        )


def _languages_of_settings(source: Source) -> list[str]:
    """Languages with settings of their own for quality rules; `*` stands for all others."""
    settings = source.quality.settings if source.quality else {}
    return [language for language in settings if language != "*"]


def named_languages(recipe: Recipe) -> list[tuple[str, str, str]]:
    """(setting, language, langid model) for every language that a recipe names."""
    named: list[tuple[str, str, str]] = []
    for name, source in recipe.sources.items():
        if source.langid is None:
            continue
        model, keep = source.langid.model, source.langid.keep
        by_setting = {
            "langid.keep.languages": (keep.languages or ()) if keep else (),
            "langid.keep.thresholds": tuple(keep.thresholds)
            if keep and keep.languages is None
            else (),
            "category": source.category if isinstance(source.category, dict) else (),
            "quality.settings": _languages_of_settings(source),
        }
        named += [
            (f"sources.{name}.{setting}", language, model)
            for setting, languages in by_setting.items()
            for language in languages
        ]
    models = {source.langid.model for source in recipe.sources.values() if source.langid}
    if len(models) == 1:
        (model,) = models
        named += [
            (f"language_models.{name}", section.language, model)
            for name, section in recipe.language_models.items()
        ]
    return named


def check_languages(recipe: Recipe) -> list[str]:
    """A language that the langid model cannot return would silently keep, or score, nothing."""
    without_script = [
        f"sources.{name}.langid.keep.scripts: lid.176 names no script, so nothing would be kept; "
        "remove it, or name a model whose labels do, such as GlotLID's"
        for name, source in recipe.sources.items()
        if source.langid
        and source.langid.model == "lid.176"
        and source.langid.keep
        and source.langid.keep.scripts is not None
    ]
    return [
        f"{setting}: {problem}"
        for setting, language, model in named_languages(recipe)
        if (problem := unknown_label(language, model))
    ] + without_script


def check_language_models(recipe: Recipe) -> list[str]:
    """Language models have sources, and the sources they score have language identification."""
    problems = []
    for language, section in recipe.language_models.items():
        problems += unknown_names(
            f"language_models.{language}.sources", section.sources, recipe.sources
        )
        if section.held_out:
            problems.append(
                f"language_models.{language}.held_out: is set by the plan; state "
                "select.heldout instead"
            )
    for name, source in recipe.sources.items():
        if source.perplexity is None:
            continue
        if source.langid is None:
            problems.append(f"sources.{name}.perplexity needs langid; add sources.{name}.langid")
        if not recipe.language_models:
            problems.append(
                f"sources.{name}.perplexity needs models; add a language_models section"
            )
    return problems
