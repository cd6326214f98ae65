"""A DAG of stages before files are pinned: what `flows.planning.wiring` makes of a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flows.recipe.references import ArtifactReference
from infra.stage import Parameters, Stage


@dataclass(frozen=True)
class Node:
    """A named stage with its parameters and its inputs. `inputs`: role -> ids of other nodes, or
    references to other recipes' artifacts. `remarks`: parameter path -> what to know where a change
    of it makes the node run again.
    """

    stage: Stage
    name: str
    parameters: Parameters
    inputs: Mapping[str, tuple[str | ArtifactReference, ...]] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """`stage/name`."""
        return f"{self.stage.name}/{self.name}"

    def upstream(self) -> Iterator[str]:
        """Ids of the nodes this one reads."""
        for sources in self.inputs.values():
            yield from (source for source in sources if isinstance(source, str))


@dataclass
class Graph:
    """Nodes in topological order: each comes after the nodes it reads."""

    nodes: dict[str, Node] = field(default_factory=dict)

    def add(
        self,
        stage: Stage,
        name: str,
        parameters: Parameters,
        **inputs: str | ArtifactReference | Sequence[str | ArtifactReference] | None,
    ) -> str:
        """Add a node after its inputs and return its id; an input of None or () is left out."""
        sources: dict[str, tuple[str | ArtifactReference, ...]] = {}
        for role, given in inputs.items():
            listed = (given,) if isinstance(given, (str, ArtifactReference)) else tuple(given or ())
            if listed:
                sources[role] = listed
        node = Node(stage, name, parameters, sources)
        missing = [source for source in node.upstream() if source not in self.nodes]
        if missing or node.id in self.nodes:
            raise ValueError(
                f"{node.id}: inputs {missing} were not added before, or the node is added twice"
            )
        stage.check_inputs({role: [_stage(s) for s in given] for role, given in sources.items()})
        self.nodes[node.id] = node
        return node.id

    def remark(self, id: str, remarks: Mapping[str, str]) -> None:
        """Say what there is to know where a change of a node's parameters makes it run again."""
        self.nodes[id] = replace(self.nodes[id], remarks=remarks)

    def matching(self, selector: str) -> list[str]:
        """Ids of the nodes that `stage` or `stage/name` names."""
        return [id for id, node in self.nodes.items() if selector in (id, node.stage.name)]

    def ancestors(self, ids: Sequence[str]) -> set[str]:
        """The given nodes and everything they depend on."""
        ancestors: set[str] = set()
        todo = list(ids)
        while todo:
            id = todo.pop()
            if id not in ancestors:
                ancestors.add(id)
                todo.extend(self.nodes[id].upstream())
        return ancestors

    def descendants(self, ids: Sequence[str]) -> set[str]:
        """The given nodes and everything that depends on them."""
        descendants = set(ids)
        for id, node in self.nodes.items():
            if descendants.intersection(node.upstream()):
                descendants.add(id)
        return descendants


def _stage(source: str | ArtifactReference) -> str:
    """The stage that an input comes from."""
    return source.partition("/")[0] if isinstance(source, str) else source.stage
