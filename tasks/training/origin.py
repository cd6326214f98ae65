"""What a phase takes over from the one before it, as far as manifests say.

Imports are light.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from infra.stage import StageError

if TYPE_CHECKING:
    from infra.store import Artifact

STATE = "state/state.json"
"""File of a phase's artifact: its place in the run and in the data."""

_TOKENIZER = "tokenizer.json"


def tokenizer_digest(artifact: Artifact) -> str:
    """sha256 of the tokenizer.json that a tokenizer's or a model's artifact holds; "" for none."""
    files = (out for out in artifact.manifest.outputs if PurePosixPath(out.path).name == _TOKENIZER)
    return next((out.sha256 for out in files), "")


def refuse_other_tokenizer(previous: Artifact, bins: Sequence[Artifact]) -> None:
    """Raise `StageError` for bins that were made with another tokenizer than the model's, as far as
    the store still has that.
    """
    from infra.store import Store

    wanted, store = tokenizer_digest(previous), Store(previous.store_root)
    for made in bins:
        for given in made.manifest.inputs.get("tokenizer", ()):
            tokenizer = store.find(given.stage, given.name, given.version)
            found = tokenizer_digest(tokenizer) if tokenizer is not None else ""
            if found and wanted and found != wanted:
                raise StageError(
                    f"{made.identity} was made with {given.identity}, which is another tokenizer "
                    f"than that of {previous.identity}; state the same tokenizer in both recipes, "
                    "or pin it"
                )
