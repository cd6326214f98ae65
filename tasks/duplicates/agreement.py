"""Checks that signatures and indexes were made with the same parameters, so may be compared.

Imports nothing heavy, since planning uses it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.stage import Parameters, StageError
from infra.store import Artifact

SIGNING = ("shingle", "bands", "rows", "seed", "text_cap")
"""Parameters of signatures that must agree wherever signatures are compared."""

VECTORS = "vectors"
"""Key of an index's statistics: how its vectors were made (`tasks.documents.vectors`)."""


def signing_of(parameters: Parameters) -> dict[str, Any]:
    """Those of `SIGNING` that a stage's parameters state."""
    return {name: getattr(parameters, name) for name in SIGNING if hasattr(parameters, name)}


def agree(label: str, made_with: Mapping[str, Any], wanted: dict[str, Any], advice: str) -> None:
    """Raise `StageError` unless the parameters with which `label` was made agree with `wanted`.

    Both map `SIGNING` and the stage's `version` to values. A value that `wanted` lacks is taken
    from `made_with`, so that all later ones must agree with the first. `advice` ends the message.
    """
    version = made_with["version"]
    if (expected := wanted.setdefault("version", version)) != version:
        raise StageError(
            f"{label} was made by version {version} of the stage signatures, the other signatures "
            f"by version {expected}, whose hashes are not comparable: run the recipe that made it "
            "again, with this version of Puna for both"
        )
    for name in SIGNING:
        value = made_with[name]
        if (expected := wanted.setdefault(name, value)) != value:
            raise StageError(
                f"{label} was made with {name} = {value}, but dedup needs {expected}: {advice}"
            )


def check_index(artifact: Artifact, wanted: dict[str, Any]) -> None:
    """Raise `StageError` unless a select artifact has an index that agrees with `wanted`."""
    index = artifact.statistics.get("index")
    if index is None:
        raise StageError(
            f"{artifact.identity} in dedup.history has no index (select.index was false, or that "
            "version of select wrote none): run its recipe again with select.index: true"
        )
    advice = (
        "set the earlier values in this recipe's section dedup, or rebuild that crawl's signatures "
        "with these"
    )
    agree(f"the index of {artifact.identity}", index["signatures"], wanted, advice)


def index_vectors(artifact: Artifact) -> Mapping[str, Any]:
    """How the vectors in a select artifact's index were made; `StageError` where it has none."""
    found: Mapping[str, Any] | None = artifact.statistics.get("index", {}).get(VECTORS)
    if found is None:
        raise StageError(
            f"{artifact.identity} in dedup.history has no vectors in its index, so that documents "
            "cannot be compared with it: run its recipe again with the sections embeddings and "
            "semantic, or remove semantic here"
        )
    return found
