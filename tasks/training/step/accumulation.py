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

from tasks.training.distributed.ranks import Ranks
from tasks.training.distributed.sharding import reduce_over_replicas, sum_replicated
from tasks.training.model.loss import IGNORE_INDEX, LossModel
from tasks.training.planning.sampler import Row
from tasks.training.step.data import PackedRows


class MicroBatch(NamedTuple):
    """Rows (None: fully masked) and their tensors, (B, T) int64, on the CPU."""

    rows: list[Row | None]
    ids_BT: Tensor
    labels_BT: Tensor
    positions_BT: Tensor

    @property
    def valid_B(self) -> Tensor:
        """Valid tokens of each row."""
        return (self.labels_BT != IGNORE_INDEX).sum(1)

    def on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """The tensors on a device."""
        tensors = (self.ids_BT, self.labels_BT, self.positions_BT)
        if device.type == "cuda":  # from pinned memory the copy does not hold up this process
            tensors = tuple(t.pin_memory().to(device, non_blocking=True) for t in tensors)  # type: ignore[assignment]
        return tensors


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


def micro_batches(
    data: PackedRows, rows: Sequence[Row | None], size: int, vocabulary: int
) -> list[MicroBatch]:
    """A rank's rows in micro-batches of `size` rows; the last may be smaller.

    Raises:
        ValueError: the bins hold a token id that the model lacks.
    """
    parts = [list(rows[start : start + size]) for start in range(0, len(rows), size)]
    batches = [MicroBatch(part, *data.batch(part)) for part in parts]
    largest = max(int(batch.ids_BT.max()) for batch in batches)
    if largest >= vocabulary:
        raise ValueError(
            f"token id {largest} in the bins, but the model has {vocabulary} rows; bin with the "
            "tokenizer of this model"
        )
    return batches


def accumulate(
    model: LossModel,
    batches: Sequence[MicroBatch],
    categories: Sequence[str],
    *,
    ranks: Ranks,
    autocast: Callable[[], AbstractContextManager[Any]],
    loss_scale: float = 1.0,
    check_stop: Callable[[], None],
) -> StepLosses:
    """Add the step's gradients to those of the model's parameters, summed over ranks.

    Args:
        batches: of this rank; as many as the other ranks have.
        categories: names that losses are counted under; masked rows add nothing to any.
        autocast: makes the context of each forward pass.
        loss_scale: factor on all gradients, which the caller divides by again (fp16).
        check_stop: called before each micro-batch; what it raises abandons the step.
    """
    valid = int(ranks.sum(torch.stack([batch.valid_B.sum() for batch in batches]).sum()))
    scale = 1 / valid if valid else 0.0
    # Row 0: loss sums; row 1: valid tokens; a column per category.
    totals = torch.zeros(2, len(categories), dtype=torch.float64, device=ranks.device)
    for index, batch in enumerate(batches):
        check_stop()
        reduce_over_replicas(model, index == len(batches) - 1)
        with autocast():
            loss_sum, losses_B = model(*batch.on(ranks.device))
        (loss_sum * (scale * loss_scale)).backward()
        columns = [categories.index(row.category) if row else 0 for row in batch.rows]
        column_B = torch.tensor(columns, device=ranks.device)
        totals[0].index_add_(0, column_B, losses_B.detach().double())
        totals[1].index_add_(0, column_B, batch.valid_B.double().to(ranks.device))
    sum_replicated(model, ranks)
    ranks.sum(totals)
    return StepLosses(
        valid=valid,
        mean=float(totals[0].sum()) / valid if valid else math.nan,
        sums=dict(zip(categories, totals[0].tolist(), strict=True)),
        tokens=dict(zip(categories, totals[1].tolist(), strict=True)),
    )
