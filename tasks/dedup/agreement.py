"""Signatures and indexes that are compared must have been made alike. Light: a plan asks too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.stage import StageError
from infra.store import Artifact

SIGNING = ("shingle", "bands", "rows", "seed", "text_cap")
"""Parameters of signatures that must agree wherever signatures are compared."""


def agree(what: str, found: Mapping[str, Any], wanted: dict[str, Any], advice: str) -> None:
    """Raise `StageError` unless `found` holds what is wanted of signatures; what was not wanted yet
    now is.

    `found` and `wanted` have `SIGNING` and the stage's `version`.
    """
    if (expected := wanted.setdefault("version", found["version"])) != found["version"]:
        raise StageError(
            f"{what} was made by version {found['version']} of the stage signatures, dedup has "
            f"those of version {expected}, whose hashes mean something else: run the recipe that "
            "made it again, with this version of Puna for both"
        )
    for name in SIGNING:
        if (expected := wanted.setdefault(name, found[name])) != found[name]:
            raise StageError(
                f"{what} was made with {name} = {found[name]}, dedup needs {expected}: {advice}"
            )


def check_index(artifact: Artifact, wanted: dict[str, Any]) -> None:
    """Raise `StageError` unless a select artifact has an index that agrees; see `agree`."""
    index = artifact.statistics.get("index")
    if index is None:
        raise StageError(
            f"{artifact.identity} in dedup.history has no index (select.index was false, or select "
            "is older than indexes): run its recipe again with select.index: true"
        )
    advice = (
        "give this recipe's section dedup the earlier values, or build that crawl's signatures "
        "again with these"
    )
    agree(f"the index of {artifact.identity}", index["signatures"], wanted, advice)
