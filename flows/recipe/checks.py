"""Checks between sections: settings that a stage would refuse, or silently ignore.

All of them follow from the recipe alone, so they are reported before anything is read rather than
by a stage that runs after hours of work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import pydantic

from flows.recipe.errors import nearest
from flows.recipe.references import ArtifactReference
from tasks.benchmarks.model import QUESTIONS_ONLY
from tasks.dedup.stage import PREFERENCES
from tasks.documents.selected import RESERVED_FOLDERS
from tasks.langid.labels import unknown_label
from tasks.training.plan import PlanError

if TYPE_CHECKING:
    from flows.recipe.sections import DedupSection, EvaluationSection, Recipe, Source
    from tasks.tokenizer.stage import TokenizerParameters


def problems_between(recipe: Recipe) -> list[str]:
    """One problem per setting that does not fit another section, each starting with its dotted
    path.
    """
    decontaminate, evaluation = recipe.decontaminate, recipe.evaluation
    found = [
        *_check_categories(recipe),
        *_check_languages(recipe),
        *_check_language_models(recipe),
        *_check_dedup(recipe),
        *_check_names(
            "decontaminate.against",
            decontaminate.against if decontaminate else (),
            recipe.benchmarks,
        ),
        "decontaminate: there is no benchmark to search for; add a benchmarks section"
        if decontaminate and decontaminate.against is None and not recipe.benchmarks
        else "",
        *_check_names(
            "evaluation.tasks", evaluation.tasks if evaluation else (), recipe.benchmarks
        ),
        *_check_models(recipe),
        *_check_phases(recipe),
        *_check_sources(recipe),
        *_check_new_rows(recipe),
        *_check_evaluation(recipe),
    ]
    return [problem for problem in found if problem]


def _check_sources(recipe: Recipe) -> Iterator[str]:
    """Settings by language need langid, and languages that it keeps."""
    for name, source in recipe.sources.items():
        if source.langid is None:
            yield from _without_languages(name, source)
        elif (
            isinstance(source.category, dict)
            and source.langid.keep
            and source.langid.keep.languages is not None
        ):
            kept = source.langid.keep.languages
            gone = [language for language in source.category if language not in kept]
            if gone:
                yield (
                    f"sources.{name}.category: langid.keep.languages drops {', '.join(gone)} "
                    f"(it keeps {', '.join(kept) or 'none'}), so nothing reaches "
                    f"{', '.join(dict.fromkeys(source.category[language] for language in gone))}; "
                    "keep the language, or take it out of the map"
                )


def _without_languages(name: str, source: Source) -> Iterator[str]:
    if isinstance(source.category, dict):
        yield (
            f"sources.{name}.category is by language, which needs language "
            f"identification; add sources.{name}.langid, or name one category for all documents"
        )
    settings = [
        language
        for language in (source.quality.settings if source.quality else ())
        if language != "*"
    ]
    if settings:
        yield (
            f"sources.{name}.quality.settings is by language ({', '.join(settings)}), which "
            f"needs language identification; add sources.{name}.langid, or write '*' for all"
        )


def _check_new_rows(recipe: Recipe) -> Iterator[str]:
    """Only an expanded tokenizer has new rows to train."""
    grows = recipe.tokenizer is not None and recipe.tokenizer.expand is not None
    for phase in recipe.training.phases if recipe.training else ():
        if phase.trainable == "new-rows" and not grows:
            yield (
                f"training.phases.{phase.name}.trainable: new-rows trains the tokens that "
                "tokenizer.expand adds, and this recipe has no tokenizer.expand; write embeddings "
                "or all"
            )


def _check_evaluation(recipe: Recipe) -> Iterator[str]:
    """Everything that evaluation names exists and can be run."""
    section = recipe.evaluation
    if section is None:
        return
    yield from _check_tasks(recipe, section)
    for task, shots in section.shots.items():
        asked = [*section.tasks, *section.hub]
        if task not in asked:
            there = ", ".join(asked) or "none"
            yield (
                f"evaluation.shots: {task!r} is not among the tasks{nearest(task, asked)}; "
                f"evaluation.tasks and evaluation.hub name: {there}"
            )
        elif shots and task in recipe.benchmarks and not recipe.benchmarks[task].dev:
            yield (
                f"evaluation.shots: {shots} for {task!r} needs worked examples; name their files "
                f"under benchmarks.{task}.dev"
            )
    held_out = recipe.select.heldout is not None and bool(recipe.categories())
    for what, asked_for in (
        ("protocols: bits-per-byte", "bits-per-byte" in section.protocols),
        ("long_text", section.long_text is not None),
    ):
        if asked_for and not held_out:
            why = "select.heldout is null" if recipe.categories() else "no source has a category"
            yield (
                f"evaluation.{what} reads held-out text, and {why}; hold some out, or remove the "
                "key"
            )
    positions = recipe.model.positions if recipe.model else None
    if section.max_length is not None and positions is not None and section.max_length > positions:
        yield (
            f"evaluation.max_length: {section.max_length:,} is more than the model's {positions:,} "
            "positions (model.create.max_position_embeddings or model.context.positions); lower it"
        )


def _check_tasks(recipe: Recipe, section: EvaluationSection) -> Iterator[str]:
    for task in section.tasks:
        if task in recipe.benchmarks and recipe.benchmarks[task].format in QUESTIONS_ONLY:
            yield (
                f"evaluation.tasks: {task!r} is of format {recipe.benchmarks[task].format}, which "
                "has questions without answers (for decontaminate.against only); remove it, or "
                "name the harness's own task under evaluation.hub"
            )
        if task in section.hub:
            yield (
                f"evaluation.hub: {task!r} is also the name of a benchmark of this recipe; rename "
                "the benchmark"
            )
    asks = {"harness", "first-token"}.intersection(section.protocols)
    if "harness" not in section.protocols and section.hub:
        yield "evaluation.hub: only the protocol harness runs these; add it to evaluation.protocols"
    if asks and not section.tasks and not section.hub:
        there = (
            f" (this recipe has: {', '.join(recipe.benchmarks)})"
            if recipe.benchmarks
            else ", and a benchmarks section"
        )
        if not {"bits-per-byte"}.intersection(section.protocols) and section.long_text is None:
            yield (
                f"evaluation.tasks: there is nothing to evaluate; name tasks{there}, or write "
                "protocols: [bits-per-byte]"
            )
    elif not section.protocols and section.long_text is None:
        yield (
            "evaluation.protocols: is empty, so nothing is evaluated; name harness, first-token or "
            "bits-per-byte"
        )


def _check_names(where: str, given: Sequence[str] | None, known: Collection[str]) -> list[str]:
    """A problem for each name that is not known."""
    there = ", ".join(known) or "none"
    return [
        f"{where}: {name!r} is not in this recipe{nearest(name, list(known))}; it has: {there}"
        for name in given or ()
        if name not in known
    ]


def _check_languages(recipe: Recipe) -> list[str]:
    """A language that the langid model cannot return would silently keep, or score, nothing."""
    named: list[tuple[str, str, str]] = []  # where, language, model
    for name, source in recipe.sources.items():
        if source.langid is None:
            continue
        settings = source.quality.settings if source.quality else {}
        model, keep = source.langid.model, source.langid.keep
        kept = keep.languages or () if keep else ()
        by_language = source.category if isinstance(source.category, dict) else {}
        named += [(f"sources.{name}.langid.keep.languages", language, model) for language in kept]
        named += [(f"sources.{name}.category", language, model) for language in by_language]
        named += [
            (f"sources.{name}.quality.settings", language, model)
            for language in settings
            if language != "*"
        ]
    models = {source.langid.model for source in recipe.sources.values() if source.langid}
    for name, section in recipe.language_models.items():
        named += [
            (f"language_models.{name}", section.language, model)
            for model in models
            if len(models) == 1
        ]
    return [
        f"{where}: {why}"
        for where, language, model in named
        if (why := unknown_label(language, model))
    ]


def _check_language_models(recipe: Recipe) -> list[str]:
    """Language models have sources, and the sources they score have language identification."""
    problems = []
    for language, section in recipe.language_models.items():
        problems += _check_names(
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


def _check_dedup(recipe: Recipe) -> list[str]:
    """What dedup names exists; without dedup, nothing may depend on it."""
    if recipe.dedup is not None:
        return [
            *_check_crawls(recipe, recipe.dedup),
            *_check_preferences(recipe, recipe.dedup),
            *_check_history(recipe, recipe.dedup),
        ]
    if not recipe.categories():
        return []
    problems = []
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


def _check_crawls(recipe: Recipe, dedup: DedupSection) -> list[str]:
    named = [source for crawl in dedup.crawls for source in crawl]
    reference_only = [
        f"dedup.crawls: {name!r} has no category, so it is not deduplicated; remove it"
        for name in named
        if name in recipe.sources and recipe.sources[name].category is None
    ]
    return [*_check_names("dedup.crawls", named, recipe.sources), *reference_only]


def _check_preferences(recipe: Recipe, dedup: DedupSection) -> list[str]:
    """A preferred column that no source has would silently prefer nothing."""
    if "prefer" not in dedup.model_fields_set:
        return []
    sections = {"langid", "quality", "perplexity"}
    there = {
        name
        for name in sections
        for source in recipe.sources.values()
        if getattr(source, name) is not None
    }
    return [
        f"dedup.prefer: {column!r} comes from a source's section {PREFERENCES[column]}, and no "
        "source has one; add it, or remove the column"
        for column in (entry.removeprefix("-") for entry in dedup.prefer)
        if PREFERENCES[column] in sections - there
    ]


def _check_history(recipe: Recipe, dedup: DedupSection) -> list[str]:
    """A recipe whose history is its own latest selection would, in turns, drop all it kept and keep
    it again.
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


def _check_categories(recipe: Recipe) -> list[str]:
    return [
        f"sources: category {name!r} is reserved for a folder of the stage select; rename it"
        for name in recipe.categories()
        if name in RESERVED_FOLDERS
    ]


def _check_models(recipe: Recipe) -> list[str]:
    problems: list[str] = []
    if recipe.tokenizer is not None:
        problems += _check_tokenizer(recipe, recipe.tokenizer)
    elif recipe.model is not None and recipe.evaluated_models() != ("base",):
        base = recipe.model.base or "..."
        problems.append(
            f"model: needs a tokenizer; add `tokenizer: {{base: {base}}}` to keep the base's"
        )
    if recipe.evaluation is not None:
        problems += [
            f"evaluation.{name}: is set by the plan; remove it"
            for name in ("benchmarks", "decontaminated", "model")
            if name in recipe.evaluation.model_fields_set
        ]
        phases = [phase.name for phase in recipe.training.phases] if recipe.training else []
        problems += [
            f"training.phases.{name}: evaluation uses {name!r} for the {what} model; rename the "
            "phase"
            for name, what in (("base", "base"), ("model", "untrained"))
            if name in phases
        ]
        known_models = [
            *(["base"] if recipe.model and recipe.model.base else []),
            *(["model"] * bool(recipe.model)),
            *phases,
        ]
        problems += _check_names("evaluation.models", recipe.evaluation.models, known_models)
        if not known_models:
            problems.append("evaluation: there is no model; add a model section")
    return problems


def _check_tokenizer(recipe: Recipe, section: TokenizerParameters) -> list[str]:
    """A tokenizer learns from selected text only."""
    where = f"tokenizer.{'expand' if section.expand else 'train'}.from"
    categories, named = recipe.categories(), section.learn_from()
    problems = _check_names(where, list(named), {**categories, **recipe.sources})
    problems += [
        f"tokenizer.{name}: is set by the plan; name sources or categories in `{where}` instead"
        for name in ("categories", "weights")
        if name in section.model_fields_set
    ]
    problems += [
        f"{where}: source {name!r} has no category, so none of its text is selected; give it one, "
        "or remove it"
        for name in named
        if name in recipe.sources
        and recipe.sources[name].category is None
        and name not in categories
    ]
    try:
        section.shares(
            {
                name: source.categories()
                for name, source in recipe.sources.items()
                if source.category
            }
        )
    except ValueError as error:
        problems.append(f"{where}: {error}")
    if not categories and section.learns:
        problems.append("tokenizer: no source has a category, so there is no text to learn from")
    return problems


def _check_phases(recipe: Recipe) -> list[str]:
    if recipe.training is None:
        return []
    missing = [s for s in ("tokenizer", "model", "binning") if getattr(recipe, s) is None]
    if missing or recipe.binning is None:
        return [
            "training needs the sections tokenizer, model and binning; missing: "
            f"{', '.join(missing)}"
        ]
    problems, categories = [], recipe.categories()
    positions = recipe.model.positions if recipe.model else None
    if positions is not None and recipe.binning.sequence_length > positions:
        problems.append(
            f"binning.sequence_length: {recipe.binning.sequence_length} is more than the model's "
            f"{positions} positions (model.create.max_position_embeddings or "
            "model.context.positions); lower it, or raise those"
        )
    for phase in recipe.training.phases:
        if phase.mixture != "buckets":
            problems += _check_names(
                f"training.phases.{phase.name}.mixture", list(phase.mixture), categories
            )
        try:
            recipe.training.node(phase.name, recipe.binning.sequence_length)
        except (PlanError, pydantic.ValidationError) as error:
            detail = (
                error.errors()[0]["msg"]
                if isinstance(error, pydantic.ValidationError)
                else str(error)
            )
            problems.append(f"training.phases.{phase.name}: {detail.removeprefix('Value error, ')}")
    if not categories:
        problems.append("training: no source has a category, so there is nothing to train on")
    return problems
