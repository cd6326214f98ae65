"""Parts of the recipe's `training:` section: optimizer, schedule, shares, batches, guard."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, Any, Literal

import pydantic

from infra.stage import NOT_IDENTITY, Parameters
from tasks.training.recipe.durations import Duration, Ratio

ScheduleKind = Literal["cosine", "wsd", "linear", "constant"]
Trainable = Literal["all", "embeddings", "new-rows"]

NO_WARMUP = Duration(amount=Fraction(0))

Forms = Callable[[Any], str]
"""Names the form that a value is written in, so that only what is wrong with that one is told."""


def _map_or(one: str, other: str, kind: type) -> Forms:
    """`one` for a map, `other` for a number or words."""
    return lambda value: one if isinstance(value, (dict, kind)) else other


Warmup = Annotated[
    Annotated[Duration, pydantic.Tag("Duration")] | Annotated[Ratio, pydantic.Tag("Ratio")],
    pydantic.Discriminator(_map_or("Ratio", "Duration", Ratio)),
]
"""A length, or {ratio: 0.025} of the schedule's total."""


Beta = Annotated[float, pydantic.Field(ge=0.0, lt=1.0)]


OptimizerName = Literal["adamw", "adamw-8bit", "paged-adamw", "paged-adamw-8bit"]


class Optimizer(Parameters):
    """AdamW (Loshchilov and Hutter 2019); weight decay acts on matrices only, `gradient_clip` is a
    global norm.
    """

    name: OptimizerName = pydantic.Field(
        default="adamw",
        description="adamw-8bit holds moments in 8 bits, the paged ones on a GPU in memory that "
        "moves to the CPU when the GPU's is full, by bitsandbytes",
    )
    lr: float = pydantic.Field(default=3e-4, gt=0)
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: float = pydantic.Field(default=1e-8, gt=0)
    weight_decay: float = pydantic.Field(default=0.1, ge=0)
    gradient_clip: float = pydantic.Field(default=1.0, ge=0, description="0 does not clip")


class ScheduleSection(Parameters):
    """Learning rate over the whole run; `total` defaults to the sum of phases."""

    kind: ScheduleKind = "cosine"
    warmup: Warmup = pydantic.Field(
        default=NO_WARMUP,
        description="rise of the learning rate: tokens, rows, steps, epochs, or {ratio: 0.025} of "
        "the schedule's total",
    )
    final_ratio: float = pydantic.Field(default=0.1, ge=0, le=1)
    total: Duration | None = pydantic.Field(
        default=None,
        description="where the schedule ends, from its beginning; epochs are those of the first "
        "phase's bins",
    )
    decay: float = pydantic.Field(
        default=0.1, gt=0, le=1, description="wsd: share of total over which lr falls"
    )


def _batch_size(size: Duration) -> Duration:
    if size.unit not in ("tokens", "rows"):
        raise ValueError(f"{size}: a batch is a number of tokens or rows, such as 4M or 64 rows")
    if not size.amount:
        raise ValueError(f"{size}: a batch has at least one row; state more")
    return size


BatchSize = Annotated[Duration, pydantic.AfterValidator(_batch_size)]
"""Tokens, or rows of the phase's own length."""


class BatchRamp(Parameters):
    """A batch that changes linearly over the first `over` of the phase (default: all of it)."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    start: BatchSize = pydantic.Field(alias="from")
    end: BatchSize = pydantic.Field(alias="to")
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


Batch = Annotated[
    Annotated[BatchSize, pydantic.Tag("BatchSize")]
    | Annotated[BatchRamp, pydantic.Tag("BatchRamp")],
    pydantic.Discriminator(_map_or("BatchRamp", "BatchSize", BatchRamp)),
]


_Epochs = Annotated[float, pydantic.Field(gt=0)]
MaxEpochs = Annotated[
    Annotated[_Epochs, pydantic.Tag("ForAll")]
    | Annotated[dict[str, _Epochs], pydantic.Tag("ByCategory")],
    pydantic.Discriminator(_map_or("ByCategory", "ForAll", dict)),
]
"""For all categories, or by category; `*` stands for those not named."""
DataCursor = Literal["continue", "restart"]
Seed = Annotated[int, pydantic.Field(ge=0, lt=2**32)]
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

DEFAULT_EPOCHS = 4.0


def epochs_limit(limits: MaxEpochs, category: str) -> float:
    """The limit of one category."""
    if isinstance(limits, dict):
        return limits.get(category, limits.get("*", DEFAULT_EPOCHS))
    return limits
