"""Checks between sections: what a stage would refuse, or do nothing of, for the recipe's words alone.

Each is found here, before anything is read, rather than by a stage that runs after a crawl was read or a model trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flows.recipe_errors import nearest
from tasks.benchmarks.model import QUESTIONS_ONLY

if TYPE_CHECKING:
    from flows.recipe import EvaluationSection, Recipe, Source


def check_sources(recipe: Recipe) -> Iterator[str]:
    """What is by language needs languages, and those that are kept."""
    for name, source in recipe.sources.items():
        if source.langid is None:
            yield from _without_languages(name, source)
        elif isinstance(source.category, dict) and source.langid.keep and source.langid.keep.languages is not None:
            kept = source.langid.keep.languages
            gone = [language for language in source.category if language not in kept]
            if gone:
                yield (
                    f"sources.{name}.category: langid.keep.languages drops {', '.join(gone)} "
                    f"(it keeps {', '.join(kept) or 'none'}), so that nothing reaches "
                    f"{', '.join(dict.fromkeys(source.category[language] for language in gone))}; "
                    "keep the language, or take it out of the map"
                )


def _without_languages(name: str, source: Source) -> Iterator[str]:
    if isinstance(source.category, dict):
        yield (
            f"sources.{name}.category is by language and needs languages; add sources.{name}.langid, or name one "
            "category for all"
        )
    settings = [language for language in (source.quality.settings if source.quality else ()) if language != "*"]
    if settings:
        yield (
            f"sources.{name}.quality.settings is by language ({', '.join(settings)}) and needs languages; add "
            f"sources.{name}.langid, or write '*' for all"
        )


def check_training(recipe: Recipe) -> Iterator[str]:
    """Rows that are new are those of an expanded tokenizer."""
    grows = recipe.tokenizer is not None and recipe.tokenizer.expand is not None
    for phase in recipe.training.phases if recipe.training else ():
        if phase.trainable == "new-rows" and not grows:
            yield (
                f"training.phases.{phase.name}.trainable: new-rows are those of tokens that tokenizer.expand adds, and "
                "there is no such section; write embeddings or all"
            )


def check_evaluation(recipe: Recipe) -> Iterator[str]:
    """Each thing asked for can be asked."""
    section = recipe.evaluation
    if section is None:
        return
    yield from _check_tasks(recipe, section)
    for task, shots in section.shots.items():
        asked = [*section.tasks, *section.hub]
        if task not in asked:
            there = ", ".join(asked) or "none"
            yield f"evaluation.shots: {task!r} is no task here{nearest(task, asked)}; tasks and hub name: {there}"
        elif shots and task in recipe.benchmarks and not recipe.benchmarks[task].dev:
            yield (
                f"evaluation.shots: {shots} for {task!r} needs worked examples; name their files under "
                f"benchmarks.{task}.dev"
            )
    held_out = recipe.select.heldout is not None and bool(recipe.categories())
    for what, asked_for in (
        ("protocols: bits-per-byte", "bits-per-byte" in section.protocols),
        ("long_text", section.long_text is not None),
    ):
        if asked_for and not held_out:
            why = "select.heldout is null" if recipe.categories() else "no source has a category"
            yield f"evaluation.{what} reads held-out text, and {why}; hold some out, or take it out"
    positions = recipe.model.positions if recipe.model else None
    if section.max_length is not None and positions is not None and section.max_length > positions:
        yield (
            f"evaluation.max_length: {section.max_length:,} is more than the model's {positions:,} positions "
            "(model.create.max_position_embeddings or model.context.positions); lower it"
        )


def _check_tasks(recipe: Recipe, section: EvaluationSection) -> Iterator[str]:
    for task in section.tasks:
        if task in recipe.benchmarks and recipe.benchmarks[task].format in QUESTIONS_ONLY:
            yield (
                f"evaluation.tasks: {task!r} is of format {recipe.benchmarks[task].format}, which has questions only "
                "(for decontaminate.against); take it out, or name the harness's own task under hub"
            )
        if task in section.hub:
            yield f"evaluation.hub: {task!r} is the name of a benchmark of this recipe too; rename the benchmark"
    asks = {"harness", "first-token"}.intersection(section.protocols)
    if "harness" not in section.protocols and section.hub:
        yield "evaluation.hub: its tasks are the protocol harness's; add it to evaluation.protocols"
    if asks and not section.tasks and not section.hub:
        there = f"; there is: {', '.join(recipe.benchmarks)}" if recipe.benchmarks else ", and a benchmarks section"
        if not {"bits-per-byte"}.intersection(section.protocols) and section.long_text is None:
            yield f"evaluation.tasks: nothing is asked; name tasks{there}, or write protocols: [bits-per-byte]"
    elif not section.protocols and section.long_text is None:
        yield "evaluation.protocols: is empty, so nothing is asked; name harness, first-token or bits-per-byte"
