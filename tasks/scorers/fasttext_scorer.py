"""Margins by a fastText classifier.

As in `tasks.langid.identify`, the C++ object is asked: fastText 0.9.3's Python `predict` raises on
NumPy 2.
"""

from __future__ import annotations

import errno
import functools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.scorers.meta import ScorerMeta
from tasks.scorers.prepare import prepare
from tasks.text.fasttext_model import read_classifier

MODEL_FILE = "model.bin"
PREFIX = "__label__"

_ADDED = 1e-5
"""fastText returns each probability plus this, which keeps its logarithm finite."""

_LEAST = 1e-7


@functools.lru_cache(maxsize=4)
def load(path: str) -> Any:
    """Load a fastText model once per process; StageError unless it is a classifier."""
    return read_classifier(path)


def require_whole(path: Path, model: Any) -> None:
    """Raise `OSError` if a file that `model.save_model` has just written is cut short: fastText
    does not say that the disk is full, and loads such a file without a word.
    """
    arguments = model.f.getArgs()
    words, labels = model.f.getVocab("strict")[0], model.f.getLabels("strict")[0]
    numbers = arguments.dim * (len(words) + arguments.bucket + len(labels))
    names = sum(len(name.encode()) for name in (*words, *labels))
    # Two numbers for a header, arguments, sizes; a count and a kind for each name; two matrices.
    expected = 8 + 56 + 28 + names + 10 * (len(words) + len(labels)) + 2 * 17 + 4 * numbers
    if path.stat().st_size < expected:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def labels_of(path: Path) -> tuple[str, ...]:
    """The labels of a model, without fastText's prefix."""
    labels, _ = load(str(path)).getLabels("strict")
    return tuple(label.removeprefix(PREFIX) for label in labels)


def margins(path: str, meta: ScorerMeta, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """log(p / (1 - p)) of `meta.label` for each text; NaN for one without a word that the model
    knows. With `output: value`, p itself.
    """
    model = load(path)
    label = PREFIX + meta.label
    found = np.full(len(texts), np.nan)
    # All are prepared first: in turns, the model's vectors and what preparing needs would push each
    # other out of the processor's cache (a tenth of the time).
    lines = [prepare(text, meta.preparation, meta.max_characters) for text in texts]
    for row, line in enumerate(lines):
        predicted = model.predict(f"{line}\n", -1, 0.0, "strict") if line else ()
        if not predicted:
            continue
        good = sum(p for p, name in predicted if name == label)
        if meta.output == "value":
            found[row] = min(max(good - _ADDED, 0.0), 1.0)
        else:
            others = sum(p - _ADDED for p, name in predicted if name != label)
            found[row] = math.log(max(good - _ADDED, _LEAST)) - math.log(max(others, _LEAST))
    return found
