"""Checks of the searches for a mixture: what each needs, and limits that no mixture meets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from flows.recipe.checks.names import unknown_names
from flows.recipe.errors import nearest
from flows.recipe.proxies import proxies_of
from flows.recipe.references import ArtifactReference, is_artifact
from tasks.mixture.needs import too_few
from tasks.training.planning.lengths import fixed_tokens
from tasks.training.recipe.mixtures import FromMixture, mixture_name

if TYPE_CHECKING:
    from flows.recipe.mixing import MixtureSection
    from flows.recipe.sections import Recipe


def check_mixtures(recipe: Recipe) -> Iterator[str]:
    """Problems of all searches, and of phases that name one."""
    yield from _check_named(recipe)
    if not recipe.mixtures:
        return
    needed = ("tokenizer", "binning", "training")
    if missing := [name for name in needed if getattr(recipe, name) is None]:
        yield f"mixtures: a search needs the sections {', '.join(needed)}; missing: {missing[0]}"
        return
    if recipe.loop is not None:
        yield (
            "mixtures: later runs of a loop have other bins, so every proxy would be trained "
            "again; search in a recipe of its own, and name its artifact in the phase: "
            "mixture: {from: artifact:RECIPE/mixture/NAME@TAG}"
        )
    for name, section in recipe.mixtures.items():
        where = f"mixtures.{name}"
        categories = recipe.searched()[name]
        found = list(_check_names(recipe, section, where, categories))
        found += [] if found else _check_heldout(recipe, section, where, categories)
        found += _check_limits(section, where, categories)
        yield from found or _check_enough(recipe, section, where, categories)


def _check_named(recipe: Recipe) -> Iterator[str]:
    """Phases and later searches name a search that there is."""
    for phase in recipe.training.phases if recipe.training else ():
        if isinstance(phase.mixture, FromMixture):
            where = f"training.phases.{phase.name}.mixture.from"
            yield from _check_reference(where, phase.mixture.origin, list(recipe.mixtures))
            if (fixed := sum(phase.mixture.beside.values())) > 1:
                yield (
                    f"training.phases.{phase.name}.mixture.beside: shares sum to {fixed:g}, more "
                    "than 1; lower one"
                )
    before: list[str] = []
    for name, section in recipe.mixtures.items():
        if section.given is not None:
            yield from _check_reference(f"mixtures.{name}.given", section.given, before)
        before.append(name)


def _check_reference(where: str, origin: str, known: Sequence[str]) -> Iterator[str]:
    if not is_artifact(origin):
        if mixture_name(origin) not in known:
            listed = ", ".join(known) or "none"
            yield (
                f"{where}: {origin!r} is no search stated before in this recipe"
                f"{nearest(mixture_name(origin), list(known))}; it has: {listed}"
            )
        return
    try:
        stage = ArtifactReference.parse(origin).stage
    except ValueError as error:
        yield f"{where}: {error}"
        return
    if stage != "mixture":
        yield f"{where}: {origin} is no mixture; write artifact:RECIPE/mixture/NAME@TAG"


def _check_names(
    recipe: Recipe, section: MixtureSection, where: str, categories: Sequence[str]
) -> Iterator[str]:
    known = recipe.categories()
    yield from unknown_names(f"{where}.categories", section.categories, known)
    yield from unknown_names(
        f"{where}.targets", list(section.targets), {**known, **recipe.benchmarks}
    )
    for target in section.targets:
        benchmark = recipe.benchmarks.get(target) if target not in known else None
        if benchmark is not None and "harness" not in benchmark.asked_by(("harness",)):
            yield (
                f"{where}.targets: {target!r} is not asked by likelihood (protocol harness), so "
                "its right answers have no bits per byte; leave it out"
            )
    yield from unknown_names(f"{where}.search", section.search, categories)
    yield from unknown_names(f"{where}.shares", list(section.shares), categories)
    if isinstance(section.max_epochs, dict):
        named = [name for name in section.max_epochs if name != "*"]
        yield from unknown_names(f"{where}.max_epochs", named, categories)
    if isinstance(section.around, dict):
        wanted = section.search or categories
        yield from unknown_names(f"{where}.around", list(section.around), wanted)
        if lost := [name for name in wanted if name not in section.around]:
            yield f"{where}.around: has no share of {lost[0]!r}; state one above 0"
        if section.given is not None and sum(section.around.values()) >= 1:
            yield (
                f"{where}.around: shares sum to {sum(section.around.values()):g}, which leaves "
                f"{section.given} nothing; lower them"
            )
    for key, names in (("categories", section.categories or ()), ("search", section.search)):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            yield f"{where}.{key}: {twice[0]!r} is named twice; name each category once"
    if len(categories) < 2:
        yield f"{where}.categories: a mixture has two categories or more; add one"


def _check_heldout(
    recipe: Recipe, section: MixtureSection, where: str, categories: Sequence[str]
) -> Iterator[str]:
    texts = [target for target in section.targets or categories if target in recipe.categories()]
    if texts and recipe.select.heldout is None:
        yield (
            f"{where}.targets: proxies are scored by held-out text, and select.heldout is null; "
            "set a fraction"
        )
        return
    compared = recipe.compared()
    for target in texts:
        if not set(recipe.categories()[target]) & set(compared):
            yield (
                f"{where}.targets: nothing of {target!r} is held out, as its sources are not "
                "deduplicated; leave it out of the targets, or let dedup compare them"
            )


def _check_limits(section: MixtureSection, where: str, categories: Sequence[str]) -> Iterator[str]:
    """Least and most shares that no mixture meets."""
    least = sum(section.shares[name].min for name in categories if name in section.shares)
    most = sum(section.shares[n].max if n in section.shares else 1.0 for n in categories)
    if least > 1 + 1e-9:
        yield f"{where}.shares: the least shares sum to {least:g}, more than 1; lower one"
    if most < 1 - 1e-9:
        yield f"{where}.shares: the most of all shares sum to {most:g}, less than 1; raise one"


def _check_enough(
    recipe: Recipe, section: MixtureSection, where: str, categories: Sequence[str]
) -> Iterator[str]:
    if recipe.binning is None:
        return
    name = where.partition(".")[2]
    try:
        planned = list(proxies_of(recipe, name))
    except ValueError as error:
        yield f"{where}.{error}"
        return
    length = recipe.binning.sequence_length
    problem = too_few(
        section.law,
        section.count,
        categories=section.moving(categories),
        sizes=len({proxy.shape.model_copy(update={"seed": 0}) for proxy in planned}),
        lengths=len({fixed_tokens(models.tokens, length) for models in section.proxies}),
        level=section.level,
    )
    if problem:
        yield f"{where}.proxies: {problem}"
