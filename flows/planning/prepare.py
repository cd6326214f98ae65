"""From a recipe's path to its plan, the start of every command on a recipe. Imports no Prefect."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from flows.planning.fetching import disk_notes
from flows.planning.files import look_into_files
from flows.planning.graph import Graph, Node
from flows.planning.looping.continuing import continued
from flows.planning.looping.history import History
from flows.planning.looping.turn import Turn, turn_of
from flows.planning.origin import refuse_other_origin
from flows.planning.own_files import refuse_own_store
from flows.planning.phases import phase_facts
from flows.planning.plan import Plan, make_plan
from flows.planning.predictions import made_config, predictions
from flows.planning.reading import notes
from flows.planning.refusals import refuse_by_base, refuse_by_config
from flows.planning.request import RunRequest
from flows.planning.resolve import NO_WEIGHTS, SUITE, Earlier, Pins, Unresolved, resolve
from flows.planning.searching import SearchFacts, search_facts
from flows.planning.selecting import stated_pins
from flows.planning.wiring import stages
from flows.recipe.file import RecipeError
from flows.recipe.read import read_recipe
from flows.recipe.references import ArtifactReference
from flows.recipe.sections import Recipe
from infra.stage import Pin, StageError
from infra.store import Store
from infra.store.manifest import Manifest
from tasks.duplicates.agreement import SIGNING, check_index, index_vectors
from tasks.language_model.stage import LanguageModelParameters
from tasks.neighbours.stage import STAGE as NEIGHBOURS
from tasks.signatures.stage import STAGE as SIGNATURES
from tasks.training.phases.facts import PhaseFacts
from tasks.training.planning.ramps import PlanError
from tasks.training.predict.prediction import Prediction


@dataclass(frozen=True)
class Prepared:
    """A recipe with its graph, pins, store and plan."""

    request: RunRequest
    stated: Recipe
    """As the file has it."""
    recipe: Recipe
    """As it runs: for a later crawl, with what the loop changes."""
    graph: Graph
    pins: Pins
    store: Store
    plan: Plan
    phases: tuple[PhaseFacts, ...] = ()
    """What training comes to, as far as the bins in the store tell."""
    predicted: Prediction | None = None
    """What training takes; None where the recipe has none, or its model's sizes are not known."""
    unpredicted: str = ""
    """Why nothing is predicted."""
    doubts: tuple[str, ...] = ()
    """What is probably not meant in the files that the recipe names."""
    searches: tuple[SearchFacts, ...] = ()
    """What the searches for a mixture come to."""
    turn: Turn | None = None
    """Where a recipe with a loop stands; if nothing is new, the plan is empty."""

    @property
    def nothing_new(self) -> bool:
        """Whether the loop has nothing to do before its sources grow."""
        return self.turn is not None and bool(self.turn.waiting)

    @property
    def may_be_promoted(self) -> bool:
        """Whether this is a turn of a loop that has not ended yet, though all may be built."""
        return self.turn is not None and not self.turn.again and not self.request.selection.asks()

    def refuse_unresolved(self) -> None:
        """Raise `RecipeError` if a reference of the recipe could not be pinned: nothing runs before
        all inputs are known.
        """
        waiting = [step for step in self.plan.steps.values() if step.state == "unresolved"]
        problems = [
            f"{self._place(step.id)}{step.id}: {step.why}"
            for step in waiting
            if not step.why.startswith(("waits for ", f"{SUITE}: "))
        ]
        if any(_lacks_suite(self.pins[step.id]) for step in waiting):
            place = self.recipe.place_of(SUITE)
            problems += [f"{place}{SUITE}: {why}" for why in self.recipe.absent.tasks.values()]
        model = self.recipe.model
        if model is not None and model.only_planned and not any(NO_WEIGHTS in p for p in problems):
            problems.append(f"{self.recipe.place_of('model.shape')}model.shape: {NO_WEIGHTS}")
        if problems:
            raise RecipeError(problems)

    def warnings(self) -> list[str]:
        """What is allowed but probably not meant, and what there is to know of the sources."""
        return [
            *(self.turn.remarks if self.turn is not None else ()),
            *self.recipe.warnings(),
            *([f"{SUITE}: {absent.summary()}"] if (absent := self.recipe.absent).tasks else ()),
            *self.doubts,
            *notes(self.recipe, self.plan),
            *disk_notes(self.plan, self.store, self.recipe.remote.access()),
            *(told for phase in self.phases for told in phase.warnings),
            *(self.predicted.warnings if self.predicted is not None else ()),
        ]

    def _place(self, id: str) -> str:
        """File and line of a node's first unresolved reference, as a prefix; "" if it has none."""
        unresolved = [
            pinned.reference for pinned in self.pins[id].values() if isinstance(pinned, Unresolved)
        ]
        return self.recipe.place_of(unresolved[0]) if unresolved else ""


def prepare(request: RunRequest, *, made: bool = False) -> Prepared:
    """Read, resolve and plan a recipe. `made`: of a recipe with a loop, the promoted run, not the
    one that its sources have new files for. Raises `RecipeError` for whatever is wrong with it.
    """
    recipe = read_recipe(request.recipe, request.overrides)
    store = Store.at(request.store or recipe.store, recipe.remote.access())
    if store.root.url.startswith("memory://") and recipe.engine.kind != "inline":
        raise RecipeError(
            [
                f"store {store.root.url} is visible to one process only, but engine.kind is "
                f"{recipe.engine.kind!r}; name a folder, or set engine.kind=inline"
            ]
        )
    stated, turn, past, selection = recipe, None, None, request.selection
    if recipe.loop is not None:
        turn = _turn(recipe, store, asked=selection.asks(), made=made)
        if turn.waiting:
            return Prepared(
                request, stated, recipe, Graph(), {}, store, Plan(recipe.name, {}), turn=turn
            )
        recipe, past = continued(recipe, turn.history, turn.new)
    refuse_by_base(recipe)
    graph = stages(recipe, past)
    asked = {id for stage in selection.pins for id in graph.matching(stage)}
    fixed = stated_pins(graph, store, recipe, asked)
    if past is not None:
        left = graph.nodes.keys() - fixed.keys()
        kept = {id: version for id, version in past.pins.items() if id in left}
        selection = selection.with_pins(kept)
    pins = resolve(
        graph,
        recipe.remote.access(),
        functools.partial(_earlier, recipe, store),
        turn.pins if turn is not None else None,
        lacking=recipe.absent,
    )
    refuse_own_store(recipe, store, graph, pins)
    plan = make_plan(graph, pins, store, recipe.name, selection, fixed)
    _refuse_wrong_references(recipe, plan, pins)
    _refuse_incompatible_indexes(recipe, plan)
    _refuse_missing_programs(plan)
    refuse_other_origin(recipe, plan)
    refuse_by_config(recipe, made_config(plan))
    doubts = look_into_files(recipe, plan, pins)
    phases = _phases(recipe, plan)
    predicted, why = predictions(recipe, plan, phases)
    return Prepared(
        request,
        stated,
        recipe,
        graph,
        pins,
        store,
        plan,
        phases,
        predicted,
        why,
        tuple(doubts),
        tuple(search_facts(recipe, plan)),
        turn,
    )


def _lacks_suite(pins: Mapping[str, tuple[Pin, ...] | Unresolved]) -> bool:
    return any(isinstance(p, Unresolved) and p.reference == SUITE for p in pins.values())


def _turn(recipe: Recipe, store: Store, *, asked: bool, made: bool) -> Turn:
    def earlier(history: History) -> Earlier:
        return lambda node: [
            *(m for m in history.manifests(store, node.name) if any(m.pins.values())),
            *(_earlier(recipe, store, node) if not history.runs else ()),
        ]

    try:
        return turn_of(recipe, store, earlier, selected=asked, made=made)
    except StageError as error:
        raise RecipeError([str(error)]) from None


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


def _refuse_wrong_references(recipe: Recipe, plan: Plan, pins: Pins) -> None:
    """Refuse references to what is certainly not there, or may not be read. Those that no server
    answered for stay unresolved, and those of a pinned artifact are not looked for.
    """
    problems: dict[str, str] = {}  # a file that several stages read is named once
    for id, by_path in pins.items():
        for path, found in by_path.items():
            if not isinstance(found, Unresolved) or not found.wrong:
                continue
            if plan.steps[id].state == "unresolved":
                named = f"{_named(id, path, found.reference)}: {found.why}"
                problems.setdefault(found.reference, f"{recipe.place_of(found.reference)}{named}")
    if problems:
        raise RecipeError(list(problems.values()))


def _named(id: str, path: str, reference: str) -> str:
    """A reference with the parameter that states it."""
    return reference if reference.endswith(f".{path}") else f"{id}.{path}: {reference}"


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
                if step.node.stage.name == NEIGHBOURS.name:
                    index_vectors(artifact)
            except StageError as error:
                raise RecipeError([f"{recipe.place_of(reference)}{error}"]) from None
