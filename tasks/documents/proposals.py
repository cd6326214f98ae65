"""What a mixture search leaves for others: the shares it proposes, and the names of its proxies.

Phases draw by the shares, the report shows them, and commands that list models leave proxies out.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from infra.store import Artifact

PROPOSAL = "shares.json"
"""Data of mixture and shares artifacts: {"shares": {category: share}}."""

PROXY_MODULES = (
    "tasks.training.loop",
    "tasks.training.worker",
    "tasks.evaluation.evaluate",
    "tasks.evaluation.bits_per_byte",
    "tasks.evaluation.likelihood",
    "tasks.evaluation.model",
    "transformers",
)
"""Imported once, before the trainings and evaluations of proxies are forked (names alone: a stage
imports no other).
"""

_MARK = "proxy~"
"""No name in a recipe has a `~`."""


def proxy_name(mixture: str, group: int, number: int) -> str:
    """The name of the nodes (model, training, evaluation) of a search's proxy."""
    return f"{_MARK}{mixture}~{group}-{number:02d}"


def is_proxy(name: str) -> bool:
    """Whether a node (`name` or `stage/name`) is one of a search's proxies."""
    return PurePosixPath(name).name.startswith(_MARK)


def proxy_family(name: str) -> str:
    """A proxy's name without its number: all of a search have the same."""
    return name.rpartition("~")[0]


def proposed_shares(artifact: Artifact) -> dict[str, float]:
    """Category -> share, of a mixture or shares artifact; they sum to 1."""
    found = json.loads(artifact.path(PROPOSAL).read_text(encoding="utf-8"))
    return {str(category): float(share) for category, share in found["shares"].items()}
