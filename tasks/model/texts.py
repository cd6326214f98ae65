"""Reads a sample of training texts from select artifacts, to measure layers on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.stage import StageError
from infra.store import Artifact
from tasks.documents.selected import HELD_OUT_FOLDER, training_text

_HELD_OUT = f"{HELD_OUT_FOLDER}/"


def sample_texts(artifacts: Sequence[Artifact], count: int) -> list[str]:
    """Up to `count` training documents, taken from all files in turn; held-out files are skipped.

    Raises:
        StageError: the artifacts have no text.
    """
    files = [
        artifact.path(name)
        for artifact in artifacts
        for name in artifact.files()
        if name.endswith(".jsonl") and not name.startswith(_HELD_OUT)
    ]
    rounds = itertools.zip_longest(*map(_texts, files))  # None for files that have ended
    non_empty = filter(None, itertools.chain.from_iterable(rounds))
    texts = list(itertools.islice(non_empty, count))
    if not texts:
        raise StageError(
            "model.layers.important is measured on the text of the recipe's sources, but there is "
            "none; add a source with a category, or give a list of layers"
        )
    return texts


def _texts(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield training_text(json.loads(line))
