"""Identifies the language of texts with fastText's C++ `predict`.

fastText 0.9.3's Python `predict` wraps the C++ one in `np.array(..., copy=False)`, which raises on
NumPy 2. `model.f` is the C++ object; it expects the closing newline that the wrapper would add (it
stands for the end-of-line token).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.ledger import UNDETERMINED
from tasks.documents.records import records
from tasks.langid.codes import meaning
from tasks.langid.model import PACKAGED_MODELS, locate_model
from tasks.langid.prepare import Preprocessing, prepare
from tasks.text.fasttext_model import read_classifier

SCHEMA = pa.schema(
    [("language", pa.string()), ("language_score", pa.float32()), ("script", pa.string())]
)


@functools.lru_cache(maxsize=2)
def load(model_path: str | Path) -> Any:
    """Load a fastText model, of a file or by its packaged name, once per process; StageError unless
    it is a classifier.
    """
    path = str(locate_model(str(model_path)) if model_path in PACKAGED_MODELS else model_path)
    return read_classifier(path)


def identify(
    model: Any, texts: Iterable[str], preprocessing: Preprocessing = "none"
) -> tuple[list[str], list[float], list[str | None]]:
    """Language of each text's best label, its score in [0, 1], and the script that it names.

    A text that is empty or has no word known to the model gets "und" and 0, as does one of a label
    that names no language (`tasks.langid.codes`).
    """
    languages, scores, scripts = [], [], []
    for text in texts:
        line = prepare(text, preprocessing)
        best = model.predict(f"{line}\n", 1, 0.0, "strict") if line else []
        score, label = best[0] if best else (0.0, UNDETERMINED)
        meant = meaning(label)
        languages.append(meant.language)
        scripts.append(meant.script)
        # fastText's table-based softmax can reach 1.00001
        scores.append(min(score, 1.0) if meant.language != UNDETERMINED else 0.0)
    return languages, scores, scripts


def annotate_table(
    table: pa.Table, *, model_path: str | Path, preprocessing: Preprocessing = "none"
) -> pa.Table:
    """N documents (columns text and prompt) -> N rows of SCHEMA."""
    languages, scores, scripts = identify(
        load(model_path), records(table).to_pylist(), preprocessing
    )
    columns = (languages, scores, scripts)
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)],
        schema=SCHEMA,
    )
