"""Gradients of one optimizer step, accumulated over micro-batches.

1. Read the rank's rows of the step in micro-batches of at most `size` rows.
2. Count the step's valid tokens on all ranks; every micro-batch's loss sum is divided by them.
3. Forward and backward for each micro-batch; add up loss sums and valid tokens by category.
4. Sum those over ranks.

So gradient and mean loss are the same, up to rounding, for every micro-batch and world size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tasks.training.data import PackedRows
from tasks.training.loss import IGNORE_INDEX, LossModel, step_scale, sum_over_ranks
from tasks.training.sampler import Row


class MicroBatch(NamedTuple):
    """Rows (None: fully masked) and their tensors, (B, T) int64."""

    rows: list[Row | None]
    ids_BT: Tensor
    labels_BT: Tensor
    positions_BT: Tensor


class StepLosses(NamedTuple):
    """Losses of one optimizer step on all ranks, in nats."""

    valid: int
    """Valid tokens."""
    mean: float
    """Mean loss of a valid token; NaN where no token is valid."""
    sums: dict[str, float]
    """Loss sum by category."""
    tokens: dict[str, float]
    """Valid tokens by category."""

    def by_category(self) -> dict[str, float]:
        """Mean loss of the categories that have one."""
        return {
            category: loss_sum / self.tokens[category]
            for category, loss_sum in self.sums.items()
            if self.tokens[category] > 0 and math.isfinite(loss_sum)
        }


def micro_batches(data: PackedRows, rows: Sequence[Row | None], size: int) -> list[MicroBatch]:
    """A rank's rows in micro-batches of `size` rows; the last may be smaller."""
    parts = [list(rows[start : start + size]) for start in range(0, len(rows), size)]
    return [MicroBatch(part, *data.batch(part)) for part in parts]


def accumulate(
    model: LossModel,
    batches: Sequence[MicroBatch],
    categories: Sequence[str],
    *,
    vocabulary: int,
    autocast: Callable[[], AbstractContextManager[Any]],
    loss_scale: float = 1.0,
    check_stop: Callable[[], None],
) -> StepLosses:
    """Add the step's gradients to those of the model's parameters.

    Args:
        categories: names that losses are counted under; masked rows add nothing to any.
        vocabulary: rows of the model's matrices.
        autocast: makes the context of each forward pass.
        loss_scale: factor on all gradients, which the caller divides by again (fp16).
        check_stop: called before each micro-batch; what it raises abandons the step.

    Raises:
        ValueError: the bins hold a token id that the model lacks.
    """
    valid, scale = step_scale([batch.labels_BT for batch in batches])
    # Row 0: loss sums; row 1: valid tokens; a column per category.
    totals = torch.zeros(2, len(categories), dtype=torch.float64)
    for batch in batches:
        check_stop()
        _require_known_ids(batch.ids_BT, vocabulary)
        with autocast():
            loss_sum, losses_B = model(batch.ids_BT, batch.labels_BT, batch.positions_BT)
        (loss_sum * (scale * loss_scale)).backward()
        columns = [categories.index(row.category) if row else 0 for row in batch.rows]
        column_B = torch.tensor(columns)
        totals[0].index_add_(0, column_B, losses_B.detach().double())
        totals[1].index_add_(0, column_B, (batch.labels_BT != IGNORE_INDEX).sum(1).double())
    sum_over_ranks(totals)
    return StepLosses(
        valid=valid,
        mean=float(totals[0].sum()) / valid if valid else math.nan,
        sums=dict(zip(categories, totals[0].tolist(), strict=True)),
        tokens=dict(zip(categories, totals[1].tolist(), strict=True)),
    )


def _require_known_ids(ids_BT: Tensor, vocabulary: int) -> None:
    largest = int(ids_BT.max())
    if largest >= vocabulary:
        raise ValueError(
            f"token id {largest} in the bins, but the model has {vocabulary} rows; bin with the "
            "tokenizer of this model"
        )
