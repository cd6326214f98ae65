"""Versioned artifacts on any fsspec URL."""

from infra.store.artifact import Artifact
from infra.store.attempt import Attempt, NotDeterministic, Shard
from infra.store.directory import Damaged
from infra.store.store import ArtifactMissing, Store

__all__ = [
    "Artifact",
    "ArtifactMissing",
    "Attempt",
    "Damaged",
    "NotDeterministic",
    "Shard",
    "Store",
]
