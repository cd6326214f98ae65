"""Which nodes of a graph the words of a request and of a recipe mean, and which artifacts the pins
of both put in their place.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from flows.planning.graph import Graph, Node
from flows.planning.request import Selection
from flows.recipe.errors import nearest
from flows.recipe.file import RecipeError
from flows.recipe.sections import Recipe
from infra.store import Artifact, ArtifactMissing, Store


def expand(graph: Graph, selectors: Sequence[str], option: str) -> set[str]:
    """Ids of the nodes that selectors name. Raises `RecipeError` for a selector without nodes.

    `option`: what states them, such as `--only`, with which the error begins.
    """
    ids: set[str] = set()
    for selector in selectors:
        matching = graph.matching(selector)
        if not matching:
            guess, listed = _guess(graph, selector), ", ".join(graph.nodes)
            raise RecipeError(
                [f"{option} {selector}: this recipe has no such stage{guess}; it has: {listed}"]
            )
        ids.update(matching)
    return ids


def _guess(graph: Graph, selector: str) -> str:
    """A suggestion: nodes of exactly that name (a phase, a source), else the closest spelling."""
    named = [id for id, node in graph.nodes.items() if node.name == selector.rpartition("/")[2]]
    if named:
        return f" (did you mean {' or '.join(map(repr, named[:3]))}?)"
    names = {node.name: id for id, node in graph.nodes.items()}
    stages = dict.fromkeys(node.stage.name for node in graph.nodes.values())
    guess = nearest(selector, [*stages, *graph.nodes, *names])
    full_id = next((id for name, id in names.items() if f"{name!r}" in guess), None)
    return guess if full_id is None else f" (did you mean {full_id!r}?)"


def wanted(graph: Graph, selection: Selection) -> set[str]:
    """Ids of the nodes that --only, --from and --until leave."""
    left = set(graph.nodes)
    if selection.only:
        left &= expand(graph, selection.only, "--only")
    if selection.start:
        left &= graph.descendants(sorted(expand(graph, (selection.start,), "--from")))
    if selection.until:
        left &= graph.ancestors(sorted(expand(graph, (selection.until,), "--until")))
    return left


def asked_pins(
    graph: Graph, store: Store, recipe: str, selection: Selection
) -> dict[str, Artifact]:
    """Node id -> the artifact that --pin puts in its place."""
    return {
        id: _chosen(graph.nodes[id], store, recipe, version, f"--pin {id}={version}")
        for selector, version in selection.pins.items()
        for id in expand(graph, (selector,), "--pin")
    }


def stated_pins(
    graph: Graph, store: Store, recipe: Recipe, asked: Collection[str]
) -> dict[str, Artifact]:
    """Node id -> the artifact that the recipe's section `pin` puts in its place; a stage with its
    name counts more than the stage alone. Nodes in `asked` are not looked at: --pin chose them.
    Raises `RecipeError` with all that is wrong, by file and line.
    """
    problems: list[str] = []
    pinned: dict[str, Artifact] = {}
    for selector, version in sorted(recipe.pin.items(), key=lambda pin: "/" in pin[0]):
        place = recipe.place_of(f"pin.{selector}")
        try:
            for id in sorted(expand(graph, (selector,), f"{place}pin:").difference(asked)):
                node, where = graph.nodes[id], f"{place}pin.{selector}: {id}@{version}"
                pinned[id] = _chosen(node, store, recipe.name, version, where)
        except RecipeError as error:
            problems += error.problems
    if problems:
        raise RecipeError(problems)
    return pinned


def _chosen(node: Node, store: Store, recipe: str, version: str, where: str) -> Artifact:
    """The node's artifact of that version (its first digits are enough) or tag of this recipe."""
    try:
        return store.open(f"{node.id}@{version}", recipe)
    except ArtifactMissing:
        raise RecipeError([f"{where}: {_there(node, store, version)}"]) from None


def _there(node: Node, store: Store, version: str) -> str:
    """What the store has of a node, with the tags of all recipes."""
    versions = [
        found
        for found in store.root.child(node.id).folders()
        if store.find(node.stage.name, node.name, found)
    ]
    several = [found for found in versions if found.startswith(version)]
    if len(several) > 1:
        return f"is the beginning of {', '.join(several)}; write more of its digits"
    tags: dict[str, list[str]] = {}
    for entry in store.references():
        if (entry["stage"], entry["name"]) == (node.stage.name, node.name):
            tags.setdefault(entry["version"], []).append(f"{entry['tag']} of {entry['recipe']}")
    listed = [
        f"{found} ({', '.join(tags[found])})" if found in tags else found for found in versions
    ]
    return f"the store has: {', '.join(listed) or 'none'}"
