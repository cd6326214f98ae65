"""Opens a fastText classifier."""

from __future__ import annotations

from typing import Any

import fasttext

from infra.stage import StageError


def read_classifier(path: str) -> Any:
    """The model of a file. Raises `StageError` unless it is a classifier."""
    try:
        model = fasttext.FastText._FastText(path).f
    except (ValueError, MemoryError) as error:
        raise StageError(
            f"{path} is not a readable fastText model ({error}); download it again, or use another"
        ) from error
    arguments = model.getArgs()
    if arguments.model.name != "supervised":
        raise StageError(
            f"{path} is a fastText model of kind {arguments.model.name!r}; a classifier is a "
            "supervised one"
        )
    return model
