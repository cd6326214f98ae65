"""Identifies the language of texts with fastText's C++ `predict`.

fastText 0.9.3's Python `predict` wraps the C++ one in `np.array(..., copy=False)`, which raises on
NumPy 2. `model.f` is the C++ object; it expects the closing newline that the wrapper would add (it
stands for the end-of-line token).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import fasttext
import pyarrow as pa

from infra.ledger import UNDETERMINED
from infra.stage import StageError
from tasks.documents.records import records
from tasks.langid.stage import MAX_CHARACTERS

LABEL_PREFIX = "__label__"
SCHEMA = pa.schema([("language", pa.string()), ("language_score", pa.float32())])


@functools.lru_cache(maxsize=2)
def load(path: str) -> Any:
    """Load a fastText model once per process; StageError unless it is a classifier."""
    try:
        model = fasttext.FastText._FastText(path).f
    except (ValueError, MemoryError) as error:
        raise StageError(
            f"{path} is not a readable fastText model ({error}); download it again, or use another"
        ) from error
    arguments = model.getArgs()
    if arguments.model.name != "supervised":
        raise StageError(
            f"{path} is a fastText model of kind {arguments.model.name!r}; langid needs a "
            "supervised one"
        )
    return model


def prepare(text: str) -> str:
    """Apply the fixed preprocessing described in `tasks.langid.stage`."""
    return text[:MAX_CHARACTERS].replace("\n", " ").strip()


def identify(model: Any, texts: Iterable[str]) -> tuple[list[str], list[float]]:
    """Best label of each text and its score in [0, 1].

    A text that is empty or has no word known to the model gets "und" and 0.
    """
    languages, scores = [], []
    for text in texts:
        line = prepare(text)
        best = model.predict(f"{line}\n", 1, 0.0, "strict") if line else []
        score, label = best[0] if best else (0.0, UNDETERMINED)
        languages.append(label.removeprefix(LABEL_PREFIX))
        scores.append(min(score, 1.0))  # fastText's table-based softmax can reach 1.00001
    return languages, scores


def annotate_table(table: pa.Table, *, model_path: str) -> pa.Table:
    """N documents (columns text and prompt) -> N rows of SCHEMA."""
    languages, scores = identify(load(model_path), records(table).to_pylist())
    return pa.table(
        [pa.array(languages, pa.string()), pa.array(scores, pa.float32())], schema=SCHEMA
    )
