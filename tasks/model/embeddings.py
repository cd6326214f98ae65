"""Grows an embedding matrix by rows with explicit ids, a few thousand rows at a time.

Arithmetic is in float64 with sums in a fixed order (row after row), so that the bits do not depend
on the processor or the number of threads. Each value is rounded to the matrix's type once, at the
end.

Suffixes of names: V rows of the matrix, D values of a row, W bytes of a row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.stage import StageError
from tasks.checkpoints.weights import StoredTensor
from tasks.model.safetensors_file import OutgoingTensor, Write
from tasks.model.stage import Method

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""NumPy's type by safetensors' name; bfloat16, which NumPy lacks, is handled as its bits."""
_BLOCK_ELEMENTS = 1 << 18
"""Elements of a matrix processed at a time: 2 MiB in float64."""

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class NewRow:
    """A new token: its id, and the base's ids for its text (without dummy prefix)."""

    id: int
    base_ids: tuple[int, ...]


@dataclass(frozen=True)
class Growth:
    """How to grow: the new rows (ids `old`, `old` + 1, ...) and the `total` number of rows.

    `old`: number of the base's rows that belong to tokens; new tokens may take padding rows after
    them. `input`, `output`: the method for each matrix. `seed`, `spread`: random seed and standard
    deviation of method `random`.
    """

    rows: tuple[NewRow, ...]
    total: int
    old: int
    input: Method = "mean"
    output: Method = "mean"
    seed: int = 0
    spread: float = 0.02

    @property
    def size(self) -> int:
        """Rows that belong to tokens after growing."""
        return self.old + len(self.rows)


def padded(size: int, multiple: int) -> int:
    """The smallest multiple that is not below `size`."""
    return -(-size // multiple) * multiple


@dataclass(frozen=True)
class Matrix:
    """A matrix of shape (V, D) in a file, whose rows are read on demand."""

    stored: StoredTensor

    @cached_property
    def _bytes_VW(self) -> NDArray[np.uint8]:
        rows, _ = self.stored.shape
        # Mapped, not read: a mean needs a few rows from anywhere in the matrix.
        return np.memmap(
            self.stored.path,
            np.uint8,
            "r",
            self.stored.start,
            (rows, self.stored.bytes // rows),  # type: ignore[arg-type]
        )

    def raw(self, low: int, high: int) -> NDArray[np.uint8]:
        """Bytes of rows, (high - low, bytes of a row)."""
        return np.array(self._bytes_VW[low:high])

    def values(self, ids: Any) -> Rows:
        """Rows by id or slice as float64."""
        return as_float64(np.array(self._bytes_VW[ids]), self.stored.dtype)


def as_float64(raw_VW: NDArray[np.uint8], dtype: str) -> Rows:
    """Values of rows given as bytes.

    NumPy with its single thread is faster than torch: for blocks that fit into the caches,
    synchronising threads costs more than the work.
    """
    values = raw_VW.view(TYPES[dtype])
    if dtype == "BF16":
        values = (values.astype("<u4") << 16).view("<f4")
    return values.astype(np.float64)


def as_bytes(values_VD: Rows, dtype: str) -> NDArray[np.uint8]:
    """Bytes of rows, with each value rounded to nearest, ties to even (bfloat16 via float32, as in
    torch).
    """
    if dtype != "BF16":
        return values_VD.astype(TYPES[dtype]).view(np.uint8)
    bits = values_VD.astype("<f4").view("<u4")
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(values_VD), 0x7FC0, rounded).astype("<u2").view(np.uint8)


def require_fit(matrix: StoredTensor, growth: Growth) -> None:
    """`StageError` if matrix and tokenizer do not match, or new ids do not follow the old ones.

    Quantised types are refused too: their values need separate scales, so rows cannot be averaged.
    """
    if matrix.dtype not in TYPES:
        raise StageError(
            f"{matrix.path}: the embedding matrix has type {matrix.dtype}, but rows can be added "
            f"to {', '.join(TYPES)} only. Use the checkpoint from before it was quantised"
        )
    rows, _ = matrix.shape
    highest = max((base_id for row in growth.rows for base_id in row.base_ids), default=-1)
    if highest >= growth.old or growth.old > rows:
        raise StageError(
            f"the base's matrix has {rows:,} rows, its tokenizer {growth.old:,} tokens (highest id "
            f"used {highest:,}): checkpoint and tokenizer do not belong together"
        )
    if growth.total < rows:
        raise StageError(
            f"cannot shrink a matrix of {rows:,} rows to {growth.total:,}; make the tokenizer from "
            "this base"
        )
    if [row.id for row in growth.rows] != list(
        range(growth.old, growth.size)
    ) or growth.size > growth.total:
        raise StageError(
            f"new tokens must have the ids {growth.old:,} to {growth.size - 1:,} in order, within "
            f"{growth.total:,} rows, but they begin with {[row.id for row in growth.rows[:5]]}; "
            "make the tokenizer artifact again"
        )
    if empty := [row.id for row in growth.rows if not row.base_ids]:
        raise StageError(
            f"new token {empty[0]} has no base ids to start from; make the tokenizer artifact again"
        )


def grow(
    name: str,
    stored: StoredTensor,
    growth: Growth,
    method: Method,
    stream: int,
    norms: dict[str, Any],
) -> OutgoingTensor:
    """The matrix with `growth.total` rows, in its own type.

    Rows of old tokens keep their bits, and so does the base's own padding. Padding added here is
    the mean row of the V old tokens. Its logit is the mean of theirs, and as exp(mean) <=
    mean(exp), it never gets more than 1/V of their total probability. (A zero row has logit 0,
    which can exceed the logits of all tokens.)

    Args:
        stream: number of this matrix's random stream under `growth.seed`.
        norms: receives the mean length of `old` and `new` rows when the tensor is written.
    """
    require_fit(stored, growth)
    matrix = Matrix(stored)
    width = stored.shape[1]
    row_bytes = stored.bytes // stored.shape[0]

    def fill(write: Write) -> None:
        step = max(1, _BLOCK_ELEMENTS // width)
        total_D, lengths = np.zeros(width), []
        for low in range(0, growth.old, step):
            raw = matrix.raw(low, min(low + step, growth.old))
            values = as_float64(raw, stored.dtype)
            total_D += values.sum(0)
            lengths.extend(row_lengths(values))
            write(raw.data)
        mean_D = total_D / growth.old
        norms["old"] = math.fsum(lengths) / len(lengths)
        new = new_rows(matrix, growth, method, stream, mean_D, norms["old"])
        lengths = []
        for low in range(growth.old, growth.total, step):
            high = min(low + step, growth.total)
            block = np.empty((high - low, row_bytes), np.uint8)
            kept = matrix.raw(low, min(high, stored.shape[0]))
            block[: len(kept)] = kept
            block[len(kept) :] = as_bytes(mean_D[None], stored.dtype)
            if low < growth.size:
                raw = as_bytes(np.stack(list(itertools.islice(new, high - low))), stored.dtype)
                lengths.extend(row_lengths(as_float64(raw, stored.dtype)))
                block[: len(raw)] = raw
            write(block.data)
        norms["new"] = math.fsum(lengths) / len(lengths) if lengths else None

    return OutgoingTensor(name, stored.dtype, (growth.total, width), growth.total * row_bytes, fill)


def row_lengths(values_VD: Rows) -> list[float]:
    """Euclidean length of each row."""
    lengths: list[float] = np.sqrt((values_VD * values_VD).sum(1)).tolist()
    return lengths


def new_rows(
    matrix: Matrix, growth: Growth, method: Method, stream: int, mean_D: Rows, mean_length: float
) -> Iterator[Rows]:
    """The value of each new row in order, in float64.

    - mean: the mean of the base's rows of the token's text.
    - mean-norm: the same direction with the mean length of the base's rows, because a mean of
      different rows is shorter than they are.
    - first, last: the row of the first or last sub-token.
    - global-mean: the mean of the rows of all old tokens.
    - random: normal values with standard deviation `growth.spread`.
    - zero: zeros, as a baseline.
    """
    noise = np.random.Generator(np.random.PCG64([growth.seed, stream]))
    for row in growth.rows:
        if method == "random":
            yield noise.standard_normal(len(mean_D)) * growth.spread
        elif method == "zero":
            yield np.zeros(len(mean_D))
        elif method == "global-mean":
            yield mean_D
        elif method in ("first", "last"):
            yield matrix.values([row.base_ids[0 if method == "first" else -1]])[0]
        else:
            value_D = matrix.values(list(row.base_ids)).sum(0) / len(row.base_ids)
            if method == "mean-norm" and (length := row_lengths(value_D[None])[0]):
                value_D = value_D * (mean_length / length)
            yield value_D
