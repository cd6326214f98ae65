"""The lineage of a run as a drawing: layers of boxes from the files read to the scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from infra.store import Artifact
from infra.store.manifest import InputReference

WIDTH, HEIGHT, ACROSS, DOWN = 132, 38, 16, 26
"""Size of a box, and the free space beside and below it, in CSS pixels."""

MOST_BOXES = 6
"""Artifacts of a stage that have a box each; more are drawn as one box."""

MOST_OUTSIDE = 3
"""Artifacts of other runs that one role has a box each for: a scorecard reads a whole run."""

SWEEPS = 4


class Key(NamedTuple):
    """What a box stands for: an artifact, or (`name` is then a count) all those of a stage."""

    stage: str
    name: str
    outside: bool = False
    """Whether the artifact is an earlier run's or another recipe's."""

    @property
    def width(self) -> int:
        """Of the box; a waypoint (without stage) has none, and a curve runs through its place."""
        return WIDTH if self.stage else 0


Edges = Mapping[Key, frozenset[Key]]
"""Box -> those that it was made from."""


@dataclass(frozen=True)
class Box:
    """A box: its middle and top, and its two lines."""

    x: float
    y: float
    stage: str
    name: str
    outside: bool


@dataclass(frozen=True)
class Drawing:
    """Boxes, and curves between them as SVG paths; sizes in CSS pixels."""

    title: str
    description: str
    width: float
    height: float
    boxes: tuple[Box, ...]
    curves: tuple[str, ...]


def drawing(artifacts: Sequence[Artifact]) -> Drawing | None:
    """The lineage of these artifacts; None without any. Artifacts that were read and are not among
    them are drawn as outside.
    """
    edges = edges_of(artifacts)
    if not edges:
        return None
    layers, direct = with_waypoints(layers_of(edges), without_shortcuts(edges))
    layers = ordered(layers, direct)
    width = max(map(_width, layers))
    places: dict[Key, tuple[float, float]] = {}
    for number, layer in enumerate(layers):
        x = (width - _width(layer)) / 2
        for key in layer:
            places[key] = (x + key.width / 2, number * (HEIGHT + DOWN))
            x += key.width + ACROSS
    boxes = tuple(Box(x, y, *key) for key, (x, y) in places.items() if key.stage)
    curves = [
        _curve(places[source], places[key])
        for key, found in direct.items()
        for source in sorted(found)
    ]
    curves += [f"M{x:.1f} {y}v{HEIGHT}" for key, (x, y) in places.items() if not key.stage]
    stages = Counter(artifact.stage for artifact in artifacts)
    told = ", ".join(
        f"{count} of {stage}" if count > 1 else stage for stage, count in stages.items()
    )
    return Drawing(
        "Lineage",
        f"{len(artifacts)} artifacts, from the files read to the scores: {told}. The table "
        "below lists what each was made from.",
        width,
        len(layers) * (HEIGHT + DOWN) - DOWN,
        boxes,
        tuple(curves),
    )


def edges_of(artifacts: Sequence[Artifact]) -> Edges:
    """Box -> those that its artifacts were made from."""
    counts = Counter(artifact.stage for artifact in artifacts)
    own = {artifact.identity for artifact in artifacts}

    def key(one: Artifact | InputReference) -> Key:
        if one.identity not in own:
            return Key(one.stage, one.name, outside=True)
        many = counts[one.stage] > MOST_BOXES
        return Key(one.stage, f"{counts[one.stage]} artifacts" if many else one.name)

    edges: dict[Key, set[Key]] = {}
    for artifact in artifacts:
        here = key(artifact)
        found = edges.setdefault(here, set())
        for role, inputs in artifact.manifest.inputs.items():
            read = {key(one) for one in inputs} - {here}
            outside = {one for one in read if one.outside}
            if len(outside) > MOST_OUTSIDE:
                together = Key(role, f"{len(outside)} artifacts", outside=True)
                read = (read - outside) | {together}
            found |= read
    for source in sorted({source for found in edges.values() for source in found}):
        edges.setdefault(source, set())
    return {key: frozenset(found) for key, found in edges.items()}


def depths(edges: Edges) -> dict[Key, int]:
    """Box -> the most steps from a box that was made from nothing."""
    found: dict[Key, int] = {}

    def depth(key: Key, below: tuple[Key, ...] = ()) -> int:
        if key in below:  # boxes that stand for several artifacts may follow each other
            return -1
        if key not in found:
            found[key] = 1 + max(
                (depth(source, (*below, key)) for source in edges[key]), default=-1
            )
        return found[key]

    for key in edges:
        depth(key)
    return found


def layers_of(edges: Edges) -> list[list[Key]]:
    """Boxes by depth. One that was made from nothing stands just above the first that reads it."""
    found = depths(edges)
    readers: dict[Key, list[Key]] = {}
    for key, sources in edges.items():
        for source in sources:
            readers.setdefault(source, []).append(key)
    for key in found:
        if not edges[key] and key in readers:
            found[key] = max(0, min(found[reader] for reader in readers[key]) - 1)
    layers: list[list[Key]] = [[] for _ in range(1 + max(found.values()))]
    for key, depth in found.items():
        layers[max(0, depth)].append(key)
    return [layer for layer in layers if layer]


def without_shortcuts(edges: Edges) -> Edges:
    """Edges that no longer path implies."""
    above: dict[Key, frozenset[Key]] = {}

    def ancestors(key: Key, below: tuple[Key, ...] = ()) -> frozenset[Key]:
        if key in below:
            return frozenset()
        if key not in above:
            above[key] = frozenset().union(
                edges[key], *(ancestors(source, (*below, key)) for source in edges[key])
            )
        return above[key]

    return {
        key: frozenset(
            source
            for source in sources
            if not any(source in ancestors(other) for other in sources - {source})
        )
        for key, sources in edges.items()
    }


def with_waypoints(layers: list[list[Key]], edges: Edges) -> tuple[list[list[Key]], Edges]:
    """Layers and edges in which every edge ends in the next layer: longer ones pass through a
    waypoint in each layer between, so that no curve runs behind a box.
    """
    depth = {key: number for number, layer in enumerate(layers) for key in layer}
    layers = [list(layer) for layer in layers]
    split: dict[Key, set[Key]] = {key: set() for key in edges}
    for key, sources in edges.items():
        for source in sorted(sources):
            last = source
            for number in range(depth[source] + 1, depth[key]):
                waypoint = Key("", f"{source.stage}/{source.name} {number}", source.outside)
                if waypoint not in split:
                    layers[number].append(waypoint)
                split.setdefault(waypoint, set()).add(last)
                last = waypoint
            split[key].add(last)
    return layers, {key: frozenset(sources) for key, sources in split.items()}


def _width(layer: Sequence[Key]) -> float:
    return sum(key.width + ACROSS for key in layer) - ACROSS


def ordered(layers: list[list[Key]], edges: Edges) -> list[list[Key]]:
    """Every layer sorted by the mean place of its boxes' neighbours, down and up again (Sugiyama
    et al. 1981): fewer curves cross.
    """
    neighbours: dict[Key, list[Key]] = {key: [] for layer in layers for key in layer}
    for key, sources in edges.items():
        for source in sources:
            neighbours[key].append(source)
            neighbours[source].append(key)
    place = _places(layers)
    for sweep in range(SWEEPS):
        for number in range(len(layers)) if sweep % 2 == 0 else reversed(range(len(layers))):
            layer = layers[number]
            means = {
                key: _mean((place[other] for other in neighbours[key]), place[key]) for key in layer
            }
            layers[number] = sorted(layer, key=lambda key, means=means: (means[key], key))  # type: ignore[misc]
            place |= _places([layers[number]])
    return layers


def _places(layers: Sequence[Sequence[Key]]) -> dict[Key, float]:
    """Box -> its place from the middle of its layer."""
    return {
        key: index - (len(layer) - 1) / 2 for layer in layers for index, key in enumerate(layer)
    }


def _mean(values: Iterable[float], otherwise: float) -> float:
    found = list(values)
    return sum(found) / len(found) if found else otherwise


def _curve(source: tuple[float, float], target: tuple[float, float]) -> str:
    (x, y), (to_x, to_y) = (source[0], source[1] + HEIGHT), target
    bend = max(DOWN / 2, (to_y - y) / 2)
    through = f"{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f}"
    return f"M{x:.1f} {y:.1f}C{through} {to_x:.1f} {to_y:.1f}"
