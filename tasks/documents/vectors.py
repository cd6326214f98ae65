"""The column of document vectors: its type, and which vectors may be compared.

Stage embeddings writes column `vector`, row-aligned with the documents: unit length, float16 (the
cosine of two of them is within 0.001 of that of the float32 they were computed in), null for a
document without text. `made_with` says how, in the statistics of whatever holds vectors; vectors
that were made otherwise are not comparable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.stage import StageError
from infra.store import Artifact

COLUMN = "vector"
MADE_WITH = "vectors"
"""Key of the statistics that say how vectors were made: {"model", "fingerprint", "dimensions",
"version"}; `model` is for people, the others must agree."""

_COMPARED = ("fingerprint", "dimensions", "version")

Vectors = npt.NDArray[np.float32]


def vector_type(dimensions: int) -> pa.DataType:
    """Type of the column."""
    return pa.list_(pa.float16(), dimensions)


def to_column(vectors: Vectors, known: npt.NDArray[np.bool_]) -> pa.FixedSizeListArray:
    """(N, dimensions) as the column; null where not `known`, shape (N,)."""
    values = pa.array(vectors.astype(np.float16).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, vectors.shape[1], mask=pa.array(~known))


def from_column(
    column: pa.ChunkedArray | pa.FixedSizeListArray,
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
    """(vectors of shape (N, dimensions), which of them are known); unknown ones are zero.

    `StageError` for a vector that is not finite: it would be similar to nothing and to everything.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    known = array.is_valid().to_numpy(zero_copy_only=False)
    values = np.zeros((len(array), array.type.list_size), np.float16)
    values[known] = array.flatten().to_numpy().reshape(-1, array.type.list_size)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise StageError(
            f"the vector of row {row:,} is not finite, so that it cannot be compared; rebuild the "
            "embeddings with a model whose weights are whole"
        )
    return values, known


def made_with(artifact: Artifact) -> Mapping[str, Any] | None:
    """How an artifact's vectors were made; None where it has none."""
    found: Mapping[str, Any] | None = artifact.statistics.get(MADE_WITH)
    return found


def require_comparable(given: Sequence[tuple[str, Mapping[str, Any]]], advice: str) -> None:
    """Raise `StageError` unless all (what, how it was made) agree with the first; `advice` ends the
    message.
    """
    for label, how in given[1:]:
        (first, wanted) = given[0]
        if other := [name for name in _COMPARED if how.get(name) != wanted.get(name)]:
            values = ", ".join(f"{name} {how.get(name)} and {wanted.get(name)}" for name in other)
            raise StageError(
                f"{label} has vectors of {how.get('model')}, but {first} has vectors of "
                f"{wanted.get('model')} ({values}), and vectors of different models cannot be "
                f"compared: {advice}"
            )
