"""Checks of the loop per crawl."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flows.recipe.checks.names import unknown_names
from flows.recipe.errors import nearest
from tasks.scorecard.stage import DEFAULT_FALLS

if TYPE_CHECKING:
    from flows.recipe.sections import LoopSection, Recipe


def check_loop(recipe: Recipe) -> Iterator[str]:
    """A loop has sources that grow, phases that can run again, and limits for what it scores."""
    again = [name for name, source in recipe.sources.items() if source.again]
    if recipe.loop is None:
        yield from (
            f"sources.{name}.again: is for recipes that run once per crawl; add a section loop, or "
            "remove it"
            for name in again
        )
        return
    for name in again:
        if recipe.sources[name].category is None:
            yield (
                f"sources.{name}.again: a source without a category is read in the first run only, "
                "for language models, which later runs keep; remove it"
            )
    if "again" in recipe.loop.model_fields_set:
        yield "loop.again: is set by the plan; write again: true in the sources themselves"
    if not recipe.growing():
        yield (
            "loop: no source brings new text; leave `again: true` out of one that has a category "
            "and a folder that grows, or crawl: latest"
        )
    if recipe.categories() and not recipe.select.index:
        yield (
            "select.index: later runs of a loop compare their documents with the index; remove it"
        )
    if recipe.dedup is None and recipe.categories():
        yield "dedup: later runs of a loop drop what earlier ones have; remove `dedup: null`"
    yield from (
        f"sources.{name}.dedup: later runs of a loop drop what earlier ones have; remove it, or "
        "read the source whole in every run: again: true"
        for name in recipe.growing()
        if not recipe.sources[name].dedup and recipe.dedup is not None
    )
    yield from _check_phases(recipe, recipe.loop)
    yield from _check_falls(recipe, recipe.loop)


def _check_phases(recipe: Recipe, loop: LoopSection) -> Iterator[str]:
    phases = recipe.training.phases if recipe.training else ()
    names = [phase.name for phase in phases]
    yield from unknown_names("loop.phases", loop.phases, names)
    again = [phase for phase in phases if loop.phases is None or phase.name in loop.phases]
    for phase in again:
        if phase.trainable == "new-rows":
            others = [name for name in names if name != phase.name]
            yield (
                f"loop.phases: phase {phase.name!r} trains new rows, and a model that is continued "
                f"has none; name the phases that run again, such as {others or ['...']}"
            )
    if again and phases and again[-1].name != names[-1]:
        yield (
            f"loop.phases: the last phase, {names[-1]!r}, makes the model that the next run "
            "continues; name it too"
        )


def _check_falls(recipe: Recipe, loop: LoopSection) -> Iterator[str]:
    section = recipe.evaluation
    if section is None:
        if "may_fall" in loop.model_fields_set:
            yield "loop.may_fall: nothing is scored; add a section evaluation, or remove it"
        return
    text = [f"{kind}/{name}" for kind in ("heldout", "earlier") for name in recipe.categories()]
    known = [*section.tasks, *section.hub, *text]
    for name in loop.may_fall:
        fits = any(fnmatch.fnmatchcase(row, name) for row in known)
        if name not in DEFAULT_FALLS and not fits:
            yield (
                f"loop.may_fall: {name!r} is nothing that this recipe scores"
                f"{nearest(name, known)}; it scores: {', '.join(known) or 'nothing'}"
            )
