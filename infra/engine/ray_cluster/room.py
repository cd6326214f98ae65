"""Whether another worker has room on the nodes of a cluster. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from infra.engine.config import Resources
from infra.engine.ray_cluster.jobs import Member

Nodes = Sequence[Mapping[str, Any]]
"""As `ray.nodes()` gives them: `NodeID`, and `Resources` by name."""


def fitting(size: Resources, total: Mapping[str, float]) -> int:
    """How many workers of a size a node holds."""
    return int(min(total.get(name, 0) // amount for name, amount in size.amounts().items()))


def could_hold(nodes: Nodes, id: str, size: Resources) -> bool:
    """Whether a node would hold a worker of a size, were nothing else on it."""
    return any(fitting(size, node["Resources"]) for node in nodes if node["NodeID"] == id)


def fits(nodes: Nodes, members: Iterable[Member], size: Resources) -> bool:
    """Whether a node has room for a worker of a size beside those that there are."""
    free = {node["NodeID"]: dict(node["Resources"]) for node in nodes}
    for member in sorted(members, key=lambda member: not member.ready):
        # where one that still starts will be is Ray's choice
        could = (id for id, room in free.items() if fitting(member.size, room) > 0)
        place = member.node if member.node in free else next(could, None)
        for name, amount in member.size.amounts().items() if place else ():
            free[place][name] = free[place].get(name, 0) - amount
    return any(fitting(size, room) > 0 for room in free.values())
