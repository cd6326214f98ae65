"""Training texts of select artifacts, for measuring layers on."""

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
    """The first `count` training documents, taken in turns from all files; held-out files are never
    opened.

    Raises:
        StageError: there is no text.
    """
    files = [
        artifact.path(name)
        for artifact in artifacts
        for name in artifact.files()
        if name.endswith(".jsonl") and not name.startswith(_HELD_OUT)
    ]
    rounds = itertools.zip_longest(*map(_texts, files))
    texts = list(itertools.islice((text for turn in rounds for text in turn if text), count))
    if not texts:
        raise StageError(
            "model.layers.important is measured on the text of the recipe's sources, and the stage "
            "got none; add a source with a category, or name the layers"
        )
    return texts


def _texts(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield training_text(json.loads(line))
