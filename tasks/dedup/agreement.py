"""Checks that signatures and indexes were made alike before they are compared.

Imports nothing heavy, since planning uses it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.stage import StageError
from infra.store import Artifact

SIGNING = ("shingle", "bands", "rows", "seed", "text_cap")
"""Parameters of signatures that must agree wherever signatures are compared."""


def agree(what: str, found: Mapping[str, Any], wanted: dict[str, Any], advice: str) -> None:
    """Raise `StageError` unless `found`, the parameters of `what`, agree with `wanted`.

    Both map `SIGNING` and the stage's `version` to values. What `wanted` lacks is taken from
    `found`, so that all later ones must agree with the first. `advice` ends the message.
    """
    if (expected := wanted.setdefault("version", found["version"])) != found["version"]:
        raise StageError(
            f"{what} was made by version {found['version']} of the stage signatures, the other "
            f"signatures by version {expected}, whose hashes are not comparable: run the recipe "
            "that made it again, with this version of Puna for both"
        )
    for name in SIGNING:
        if (expected := wanted.setdefault(name, found[name])) != found[name]:
            raise StageError(
                f"{what} was made with {name} = {found[name]}, but dedup needs {expected}: {advice}"
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
