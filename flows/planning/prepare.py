"""From a recipe's path to its plan, the start of every command on a recipe. Imports no Prefect."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from flows.planning.graph import Graph, Node
from flows.planning.phases import phase_facts
from flows.planning.plan import Plan, make_plan
from flows.planning.reading import notes
from flows.planning.request import RunRequest
from flows.planning.resolve import Pins, Unresolved, resolve
from flows.planning.wiring import stages
from flows.recipe.checks.sources import named_languages
from flows.recipe.file import RecipeError
from flows.recipe.read import read_recipe
from flows.recipe.references import ArtifactReference
from flows.recipe.sections import Recipe
from infra.remote.locations import is_remote
from infra.stage import StageError
from infra.store import Store
from infra.store.manifest import Manifest
from tasks.dedup.agreement import SIGNING, check_index
from tasks.ingest.stage import STAGE as INGEST
from tasks.langid.labels import absent_language
from tasks.language_model.stage import LanguageModelParameters
from tasks.model.layers import choose
from tasks.signatures.stage import STAGE as SIGNATURES
from tasks.tokenizer.stage import require_growth
from tasks.training.facts import PhaseFacts
from tasks.training.ramps import PlanError

FILES_SHOWN = 5
"""Refused files of a source that are named one by one."""


@dataclass(frozen=True)
class Prepared:
    """A recipe with its graph, pins, store and plan."""

    request: RunRequest
    recipe: Recipe
    graph: Graph
    pins: Pins
    store: Store
    plan: Plan
    phases: tuple[PhaseFacts, ...] = ()
    """What training comes to, as far as the bins in the store tell."""

    def refuse_unresolved(self) -> None:
        """Raise `RecipeError` if a reference of the recipe could not be pinned: nothing runs before
        all inputs are known.
        """
        problems = [
            f"{self._place(step.id)}{step.id}: {step.why}"
            for step in self.plan.steps.values()
            if step.state == "unresolved" and not step.why.startswith("waits for ")
        ]
        if problems:
            raise RecipeError(problems)

    def warnings(self) -> list[str]:
        """What is allowed but probably not meant, and what there is to know of the sources."""
        return [
            *self.recipe.warnings(),
            *notes(self.recipe, self.plan),
            *(told for phase in self.phases for told in phase.warnings),
        ]

    def _place(self, id: str) -> str:
        """File and line of a node's first unresolved reference, as a prefix; "" if it has none."""
        unresolved = [
            pinned.reference for pinned in self.pins[id].values() if isinstance(pinned, Unresolved)
        ]
        return self.recipe.place_of(unresolved[0]) if unresolved else ""


def prepare(request: RunRequest) -> Prepared:
    """Read, resolve and plan a recipe. Raises `RecipeError` for whatever is wrong with it."""
    recipe = read_recipe(request.recipe, request.overrides)
    store = Store.at(request.store or recipe.store)
    if store.root.url.startswith("memory://") and recipe.engine.kind != "inline":
        raise RecipeError(
            [
                f"store {store.root.url} is visible to one process only, but engine.kind is "
                f"{recipe.engine.kind!r}; name a folder, or set engine.kind=inline"
            ]
        )
    _refuse_absent_languages(recipe)
    _refuse_absent_layers(recipe)
    _refuse_sizes_without_growth(recipe)
    _refuse_long_rows(recipe)
    graph = stages(recipe)
    pins = resolve(graph, recipe.remote.access(), functools.partial(_earlier, recipe, store))
    _refuse_wrong_references(recipe, pins)
    plan = make_plan(graph, pins, store, recipe.name, request.selection)
    _refuse_incompatible_indexes(recipe, plan)
    _refuse_wrong_formats(recipe, plan, pins)
    _refuse_missing_programs(plan)
    return Prepared(request, recipe, graph, pins, store, plan, _phases(recipe, plan))


def _phases(recipe: Recipe, plan: Plan) -> tuple[PhaseFacts, ...]:
    """Facts of training's phases; refuses those that the bins in the store rule out."""
    try:
        return tuple(phase_facts(recipe, plan))
    except PlanError as error:
        key = f"training.phases.{error}"
        place = recipe.place_of(".".join(key.split(".")[:3]))
        raise RecipeError([f"{place}{key}"]) from None


def _earlier(recipe: Recipe, store: Store, node: Node) -> list[Manifest]:
    """The manifests of this recipe's latest artifact of a node, and of what the recipes of its
    `dedup.history` made of theirs.
    """
    asked = [(recipe.name, node.name)]
    for reference in recipe.dedup.history if recipe.dedup else ():
        earlier = ArtifactReference.parse(reference)
        asked.append((earlier.recipe, earlier.name))
    found = []
    for name, source in asked:
        version = store.reference(name, node.stage.name, source)
        artifact = store.find(node.stage.name, source, version) if version else None
        if artifact is not None:
            found.append(artifact.manifest)
    return found


def _refuse_wrong_references(recipe: Recipe, pins: Pins) -> None:
    """Refuse references that a server answered for: there is no such object, or it may not be read.
    Those it did not answer for stay unresolved.
    """
    problems = [
        f"{recipe.place_of(found.reference)}{_named(id, path, found.reference)}: {found.why}"
        for id, by_path in pins.items()
        for path, found in by_path.items()
        if isinstance(found, Unresolved) and found.wrong
    ]
    if problems:
        raise RecipeError(problems)


def _refuse_absent_languages(recipe: Recipe) -> None:
    """Refuse languages that the langid model in a local file has no label for."""
    problems = [
        f"{recipe.place_of(model)}{setting}: {problem}"
        for setting, language, model in named_languages(recipe)
        if Path(model).is_file() and (problem := absent_language(language, Path(model)))
    ]
    if problems:
        raise RecipeError(problems)


def _named(id: str, path: str, reference: str) -> str:
    """A reference with the parameter that states it."""
    return reference if reference.endswith(f".{path}") else f"{id}.{path}: {reference}"


def _refuse_absent_layers(recipe: Recipe) -> None:
    """Refuse layers that a local base lacks."""
    section = recipe.model
    if section is None or section.base is None or section.layers is None:
        return
    count = _number_in_config(section.base, "num_hidden_layers")
    if count is None:
        return
    try:
        choose(section.layers, count, lambda _: [0.0] * count)
    except StageError as error:
        raise RecipeError([f"{recipe.place_of('model.base')}{error}"]) from None


def _number_in_config(base: str, key: str) -> int | None:
    """A number from a local base's config.json.

    None if it cannot be read: the base is an artifact, llama2.c's files, or broken. In that last
    case the stage reports it.
    """
    try:
        return int(json.loads(Path(base, "config.json").read_text(encoding="utf-8"))[key])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _refuse_long_rows(recipe: Recipe) -> None:
    """Refuse rows and evaluations longer than a local base's positions, unless the recipe changes
    its context.
    """
    model = recipe.model
    if model is None or model.base is None or model.context is not None:
        return
    positions = _number_in_config(model.base, "max_position_embeddings")
    changed = any(phase.context for phase in recipe.training.phases) if recipe.training else False
    stated = _row_lengths(recipe) | {
        "evaluation.max_length": recipe.evaluation.max_length
        if recipe.evaluation and not changed
        else None,
    }
    problems = [
        f"{recipe.place_of('model.base')}{name}: {length:,} is more than the base's {positions:,} "
        "positions; lower it, or state model.context, or a phase's, with the positions and rope "
        "you want"
        for name, length in stated.items()
        if length is not None and positions is not None and length > positions
    ]
    if problems and not _stretches(model.base):
        raise RecipeError(problems)


def _row_lengths(recipe: Recipe) -> dict[str, int | None]:
    """Row lengths by the key that states them, of phases before one that changes positions."""
    if recipe.training is None or recipe.binning is None:
        return {}
    lengths: dict[str, int | None] = {}
    for phase in recipe.training.phases:
        if phase.context is not None:
            break
        if phase.sequence_length is None:
            lengths["binning.sequence_length"] = recipe.binning.sequence_length
        else:
            lengths[f"training.phases.{phase.name}.sequence_length"] = phase.sequence_length
    return lengths


def _stretches(base: str) -> bool:
    """Whether the base's RoPE scales with the text's length (dynamic), or cannot be read."""
    try:
        config = json.loads(Path(base, "config.json").read_text(encoding="utf-8"))
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        return "dynamic" in (rope.get("rope_type"), rope.get("type"))
    except (OSError, ValueError, AttributeError):
        return True


def _refuse_missing_programs(plan: Plan) -> None:
    """Refuse stages whose external program is missing."""
    from tasks.language_model import lmplz

    for step in plan.steps.values():
        parameters = step.node.parameters
        if (
            step.state == "run"
            and isinstance(parameters, LanguageModelParameters)
            and parameters.estimator == "lmplz"
        ):
            try:
                lmplz.find(parameters.lmplz)
            except StageError as error:
                raise RecipeError([f"language_models.{step.node.name}: {error}"]) from None


def _refuse_sizes_without_growth(recipe: Recipe) -> None:
    """Refuse to expand a local base's vocabulary to a size that it already has."""
    section = recipe.tokenizer
    if (
        section is None
        or section.base is None
        or section.expand is None
        or not isinstance(section.expand.size, int)
    ):
        return
    try:
        state = json.loads(Path(section.base, "tokenizer.json").read_text(encoding="utf-8"))
        last = max(
            [*state["model"]["vocab"].values(), *(token["id"] for token in state["added_tokens"])]
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # an artifact, a `.model` alone, or broken, which the stage reports
    try:
        require_growth(section.expand.size, last + 1)
    except StageError as error:
        raise RecipeError(
            [f"{recipe.place_of('tokenizer.base')}tokenizer.expand.size: {error}"]
        ) from None


def _refuse_wrong_formats(recipe: Recipe, plan: Plan, pins: Pins) -> None:
    """Refuse files that are certainly not in the format their source states (Parquet as text)."""
    problems = []
    for name, source in recipe.sources.items():
        step = plan.steps.get(f"{INGEST.name}/{name}")
        files = pins[step.id].get("paths") if step and step.state == "run" else None
        format = source.ingest.format
        if not isinstance(files, tuple) or format == "hf" or format == "commoncrawl":
            continue
        # imports the decoders of every compression: not for commands without a recipe
        from tasks.ingest.file_kinds import refusal

        place = recipe.place_of(f"sources.{name}.ingest.paths")
        refused = [
            why
            for pin in files
            if not is_remote(pin.path) and (why := refusal(Path(pin.path), format))
        ]
        problems += [f"{place}sources.{name}.ingest.paths: {why}" for why in refused[:FILES_SHOWN]]
        if len(refused) > FILES_SHOWN:
            problems.append(
                f"{place}sources.{name}.ingest.paths: {len(refused) - FILES_SHOWN:,} more "
                "such files"
            )
        local = [Path(pin.path) for pin in files if not is_remote(pin.path)]
        if format == "parquet" and local and not refused:
            from tasks.ingest.parquet import wrong_columns

            if why := wrong_columns(local[0], source.ingest.fields):
                problems.append(f"{place}sources.{name}.ingest: {why}")
    if problems:
        raise RecipeError(problems)


def _refuse_incompatible_indexes(recipe: Recipe, plan: Plan) -> None:
    """Refuse earlier crawls whose index cannot be compared with this one's."""
    if recipe.dedup is None:
        return
    wanted = {name: getattr(recipe.dedup, name) for name in SIGNING} | {
        "version": SIGNATURES.version
    }
    for step in plan.steps.values():
        if step.state != "run":
            continue
        for reference, artifact in zip(
            recipe.dedup.history, step.external.get("history", ()), strict=False
        ):
            try:
                check_index(artifact, wanted)
            except StageError as error:
                raise RecipeError([f"{recipe.place_of(reference)}{error}"]) from None
