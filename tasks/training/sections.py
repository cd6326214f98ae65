"""Parts of the recipe's `training:` section: optimizer, schedule, shares, batches, guard."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

import pydantic

from infra.quantities import Count
from infra.stage import NOT_IDENTITY, Parameters
from tasks.training.durations import Duration
from tasks.training.plan import PlanError, Ramp, ScheduleKind, duration_tokens

NO_WARMUP = Duration(amount=Fraction(0))


Beta = Annotated[float, pydantic.Field(ge=0.0, lt=1.0)]


class Optimizer(Parameters):
    """AdamW (Loshchilov and Hutter 2019); weight decay acts on matrices only, `gradient_clip` is a
    global norm.
    """

    name: Literal["adamw"] = "adamw"
    lr: float = pydantic.Field(default=3e-4, gt=0)
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: float = pydantic.Field(default=1e-8, gt=0)
    weight_decay: float = pydantic.Field(default=0.1, ge=0)
    gradient_clip: float = pydantic.Field(default=1.0, ge=0, description="0 does not clip")


class ScheduleSection(Parameters):
    """Learning rate over the whole run; `total` defaults to the sum of phases."""

    kind: ScheduleKind = "cosine"
    warmup: Duration = NO_WARMUP
    final_ratio: float = pydantic.Field(default=0.1, ge=0, le=1)
    total: Duration | None = None
    decay: float = pydantic.Field(
        default=0.1, gt=0, le=1, description="wsd: share of total over which lr falls"
    )


class Share(Parameters):
    """A share that changes linearly over the first `over` of the phase (default: all of it)."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    start: float = pydantic.Field(alias="from", ge=0, le=1)
    end: float = pydantic.Field(alias="to", ge=0, le=1)
    over: Duration | None = None


class BatchRamp(Parameters):
    """Batch tokens that change linearly over the first `over` of the phase (default: all of it)."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    start: Count = pydantic.Field(alias="from", gt=0)
    end: Count = pydantic.Field(alias="to", gt=0)
    over: Duration | None = None


class Guard(Parameters):
    """A step is skipped when its loss or gradient norm is not finite, or its loss exceeds `spike` x
    the running median (and is 3 nats above it).

    After `patience` skipped steps in a row the phase stops and names the documents of the last
    batch. A loss above that of guessing after warm-up, or far above the phase's beginning, is
    warned about; a phase whose last 64 steps show divergence stops, unless `diverged` is `warn`.
    """

    spike: float = pydantic.Field(
        default=3.0, ge=0, description="0 checks only for values that are not finite"
    )
    patience: int = pydantic.Field(default=3, ge=1)
    diverged: Annotated[
        Literal["stop", "warn"],
        NOT_IDENTITY,
        pydantic.Field(description="a phase that has diverged: stop it, or only warn"),
    ] = "stop"


PositiveCount = Annotated[Count, pydantic.Field(gt=0)]
Batch = PositiveCount | BatchRamp
ShareValue = Annotated[float, pydantic.Field(ge=0, le=1)]
Mixture = Literal["buckets"] | dict[str, Literal["rest"] | ShareValue | Share]
DataCursor = Literal["continue", "restart"]
Precision = Literal["fp32", "bf16", "fp16", "fp64"]
"""bf16 and fp16 compute in 16 bits over float32 weights and moments. fp64 is for checks: models of
transformers still compute their norms and rotary angles in float32.
"""
Recompute = Literal["none", "selective", "full"]
AttentionKind = Literal["auto", "sdpa", "varlen", "flash"]

PrecisionField = Annotated[
    Precision,
    pydantic.Field(
        description="bf16, fp16: 16-bit products over float32 weights and moments; fp16 scales its "
        "loss, on one device only; fp64: for checks (norms and angles of transformers stay float32)"
    ),
]
DocumentMask = Annotated[
    bool,
    pydantic.Field(
        description="whether the documents of a row are hidden from each other; false: causal "
        "attention over the whole row, whose positions are then 0 to its length"
    ),
]
RecomputeField = Annotated[
    Recompute,
    NOT_IDENTITY,
    pydantic.Field(
        description="activations made again in the backward pass to save memory, layer by layer; "
        "selective keeps results of matrix products and attention"
    ),
]
Compile = Annotated[
    bool,
    NOT_IDENTITY,
    pydantic.Field(description="torch.compile each decoder layer; needs a C++ or CUDA compiler"),
]
AttentionField = Annotated[
    AttentionKind,
    NOT_IDENTITY,
    pydantic.Field(
        description="kernel that hides documents from each other: flash (flash-attn) or varlen "
        "(torch) on GPUs in 16 bits, sdpa (a mask) everywhere; auto: the first that the model and "
        "the device can use"
    ),
]


def row_tokens(amount: int, sequence_length: int) -> int:
    """Tokens rounded to whole rows: what a phase of that length actually consumes."""
    return (2 * amount + sequence_length) // (2 * sequence_length) * sequence_length


def batch_ramp(batch: int | BatchRamp, span: int | None, sequence_length: int) -> Ramp:
    """Batch tokens by token of the phase.

    `span`: tokens of the phase, over which a ramp without `over` moves; None while unknown.

    Raises:
        PlanError: a batch of less than a row.
    """
    for name, size in (
        (("batch", batch),)
        if isinstance(batch, int)
        else (("from", batch.start), ("to", batch.end))
    ):
        if size < sequence_length:
            raise PlanError(
                f"{name if name == 'batch' else f'batch.{name}'}: {size:,} tokens are less than "
                f"one row of {sequence_length:,} (binning.sequence_length); a batch is counted in "
                f"tokens, so write a multiple of that, {8 * sequence_length:,} for 8 rows"
            )
    if isinstance(batch, int):
        return Ramp.constant(batch)
    if batch.over is None:
        return Ramp.between(batch.start, batch.end, span) if span else Ramp.constant(batch.start)
    if batch.over.unit in ("steps", "epochs"):
        raise PlanError(
            f"batch.over: {batch.over}: a step has no fixed length here; write tokens or rows"
        )
    return Ramp.between(
        batch.start, batch.end, duration_tokens(batch.over, sequence_length=sequence_length)
    )
