"""The arithmetic of the table of token vectors; see `tasks.token_vectors.stage`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from infra.one_thread import one_thread
from infra.stage import StageError
from tasks.checkpoints.weights import StoredTensor

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_ROWS = 4_096
_SEED = 1
_ROUNDS = 100


def token_weights(counts: npt.NDArray[np.int64], smoothing: float) -> npt.NDArray[np.float32]:
    """a / (a + p) of every token, shape (V,): near 1 for rare tokens."""
    shares = counts / max(int(counts.sum()), 1)
    return (smoothing / (smoothing + shares)).astype(np.float32)


def signs(rows: int, columns: int) -> npt.NDArray[np.float64]:
    """A matrix of random signs over sqrt(columns), shape (rows, columns), always the same."""
    words = np.random.Philox(key=_SEED).random_raw(-(-rows * columns // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8))[: rows * columns]
    table: npt.NDArray[np.float64] = np.where(bits.reshape(rows, columns), 1.0, -1.0)
    table /= columns**0.5
    return table


def projected_rows(embeddings: StoredTensor, dimensions: int) -> npt.NDArray[np.float32]:
    """The rows of a matrix in a file, projected if they are longer than `dimensions`."""
    count, width = embeddings.shape
    projection = signs(width, dimensions) if width > dimensions else None
    table = np.empty((count, min(width, dimensions)), np.float32)
    for first in range(0, count, _ROWS):
        rows = _read(embeddings, first, min(first + _ROWS, count))
        with one_thread():
            table[first : first + len(rows)] = rows if projection is None else rows @ projection
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        raise StageError(
            f"row {row:,} of the input embeddings in {embeddings.path} is not finite; get the base "
            "again"
        )
    return table


def _read(tensor: StoredTensor, first: int, last: int) -> npt.NDArray[np.float64]:
    """Rows [first, last) in float64; `StageError` for a type that is no plain number."""
    if tensor.dtype not in _TYPES:
        raise StageError(
            f"the input embeddings in {tensor.path} are {tensor.dtype}; give a base in "
            f"{', '.join(_TYPES)}"
        )
    stored = np.memmap(tensor.path, _TYPES[tensor.dtype], "r", tensor.start, tensor.shape)
    rows = np.array(stored[first:last])
    if tensor.dtype == "BF16":  # the upper half of a float32
        rows = (rows.astype(np.uint32) << 16).view(np.float32)
    return rows.astype(np.float64)


def first_direction(
    documents: Iterable[npt.NDArray[np.float64]], dimensions: int
) -> npt.NDArray[np.float64]:
    """The first singular vector of documents given in blocks of shape (N, D): unit length, (D,).

    By power iteration, with a fixed start and number of rounds.
    """
    gram = np.zeros((dimensions, dimensions), np.float64)
    for block in documents:
        gram += np.einsum("nd,ne->de", block, block)
    direction = np.full(dimensions, dimensions**-0.5)
    for _ in range(_ROUNDS):
        turned = np.einsum("de,e->d", gram, direction)
        if not (length := float(np.sqrt((turned**2).sum()))):
            return np.zeros(dimensions)
        direction = turned / length
    return direction


def without(
    table: npt.NDArray[np.float32], direction: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Rows without their part along a direction, shape (V, D)."""
    along = np.einsum("vd,d->v", table.astype(np.float64), direction)
    left: npt.NDArray[np.float32] = (table - np.outer(along, direction)).astype(np.float32)
    return left
