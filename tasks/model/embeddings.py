"""Grow an embedding matrix by explicit row ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from infra.stage import StageError
from tasks.model.create import normal

Method = Literal["mean", "global-mean", "random"]


@dataclass(frozen=True)
class NewRow:
    """A new token: its id, and the base's ids of its text (without any dummy prefix)."""

    id: int
    base_ids: tuple[int, ...]


@dataclass(frozen=True)
class Growth:
    """How to grow: the new rows, how many rows there shall be, and where new values come from.

    `old`: rows of the base that hold tokens (its matrix may be padded beyond). `spread`: deviation of `random`.
    """

    rows: tuple[NewRow, ...]
    total: int
    old: int
    method: Method = "mean"
    seed: int = 0
    spread: float = 0.02


def padded(size: int, multiple: int) -> int:
    """The smallest multiple that is not below `size`."""
    return -(-size // multiple) * multiple


def grow(matrix_VD: torch.Tensor, growth: Growth) -> torch.Tensor:
    """The matrix with `growth.total` rows in the same dtype.

    Rows of old tokens keep their bits. Means are taken in float64. Rows that no token has are the mean of all old
    tokens' rows: a zero row would give them a logit of 0, which can be more than any token gets.
    """
    rows, width = matrix_VD.shape
    highest = max((base_id for row in growth.rows for base_id in row.base_ids), default=-1)
    if highest >= rows or growth.old > rows:
        raise StageError(
            f"the base's matrix has {rows:,} rows, its tokenizer {growth.old:,} tokens (highest id used {highest:,}): "
            "checkpoint and tokenizer do not belong together"
        )
    if growth.total < rows:
        raise StageError(f"cannot shrink a matrix of {rows:,} rows to {growth.total:,}")
    grown_VD = torch.empty(growth.total, width, dtype=matrix_VD.dtype)
    grown_VD[:rows] = matrix_VD
    if not growth.rows and growth.total == rows:
        return grown_VD
    mean_D = matrix_VD[: growth.old].double().mean(0)
    grown_VD[rows:] = mean_D.to(matrix_VD.dtype)
    noise = np.random.Generator(np.random.PCG64(growth.seed))
    for row in growth.rows:
        if growth.method == "mean":
            value_D = matrix_VD[list(row.base_ids)].double().mean(0)
        elif growth.method == "global-mean":
            value_D = mean_D
        else:
            value_D = normal(noise, (width,), growth.spread)
        grown_VD[row.id] = value_D.to(matrix_VD.dtype)
    return grown_VD


def norms(matrix_VD: torch.Tensor, growth: Growth) -> dict[str, float | None]:
    """Mean length of the rows of old tokens and of new ones."""
    lengths_V = matrix_VD.double().norm(dim=1)
    new = [row.id for row in growth.rows]
    return {
        "old": round(float(lengths_V[: growth.old].mean()), 6),
        "new": round(float(lengths_V[new].mean()), 6) if new else None,
    }
