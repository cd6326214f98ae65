"""Connects nodes of a graph by the roles that their stages declare."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flows.planning.graph import Graph
from flows.recipe.references import ArtifactReference
from infra.stage import Parameters, Role, Stage

MAIN = "main"
"""Name of the node where a recipe has only one of a stage."""


@dataclass
class Wiring:
    """Adds nodes to a graph and connects them by the roles that their stages declare."""

    graph: Graph
    added: dict[str, dict[str, str]] = field(default_factory=dict)
    """Stage -> name -> the node's id."""

    def add(
        self,
        stage: Stage,
        name: str,
        parameters: Parameters,
        sources: Iterable[str] | None = None,
        without: Collection[str] = (),
        **given: Sequence[str | ArtifactReference],
    ) -> str:
        """Add a node with its inputs, and return its id.

        A role of one artifact gets the node with the same name, else the stage's `MAIN` node. A
        role of many gets the nodes of `sources` (None: of all). Roles in `without` stay empty, and
        those in `given` get these artifacts.
        """
        names = None if sources is None else list(sources)
        inputs: dict[str, Sequence[str | ArtifactReference]] = {
            role.name: self._inputs(role, name, names)
            for role in stage.inputs
            if role.name not in without and role.name not in given
        }
        inputs |= given
        id = self.graph.add(stage, name, parameters, **inputs)
        self.added.setdefault(stage.name, {})[name] = id
        return id

    def _inputs(self, role: Role, name: str, sources: list[str] | None) -> list[str]:
        ids: list[str] = []
        for stage in role.stages:
            by_name = self.added.get(stage, {})
            if role.many:
                ids += [by_name[source] for source in sources or by_name if source in by_name]
            elif id := by_name.get(name, by_name.get(MAIN)):
                ids.append(id)
        return ids


P = TypeVar("P", bound=Parameters)


def narrowed(kind: type[P], section: Parameters | None, /, **changes: Any) -> P:
    """A stage's parameters, taken from a recipe's section: a subclass with keys that the stage does
    not see.

    `changes` replace parameters. Raises `ValueError` for a section of another class.
    """
    if not isinstance(section, kind):
        raise ValueError(f"{type(section).__name__} is not a subclass of {kind.__name__}")
    if type(section) is kind and not changes:
        return section
    return kind(**{name: getattr(section, name) for name in kind.model_fields} | changes)
