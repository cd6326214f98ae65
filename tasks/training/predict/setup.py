"""How a phase is trained, as far as its memory and operations depend on it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tasks.checkpoints.shapes import ModelShape

BYTES = {"fp64": 8, "fp32": 4, "bf16": 2, "fp16": 2}
"""Of a number in matrix products, by precision. Weights, gradients and moments are float32 under
bf16 and fp16 (float64 under fp64).
"""

BLOCKS = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj"), "self_attn"),
    **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), "mlp"),
}
"""Linear module of a decoder layer -> the block it is in, of the kinds that have a shape."""

LINEARS = tuple(BLOCKS)


class AbsentTarget(ValueError):
    """An adapter's target that a model of this shape has no module for."""


def targeted(targets: Iterable[str], layers: int) -> tuple[str, ...]:
    """The matrices of a layer that a recipe's targets stand for, in any of the layers.

    A target is a module's full name or its end, as in `tasks.training.adapters.targets`.

    Raises:
        AbsentTarget: names the target and those that there are.
    """
    names = [
        (linear, f".model.layers.{layer}.{block}.{linear}")
        for linear, block in BLOCKS.items()
        for layer in range(layers)
    ]
    found: set[str] = set()
    for target in targets:
        named = {linear for linear, name in names if name.endswith(f".{target}")}
        if not named:
            near = difflib.get_close_matches(target, LINEARS, n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise AbsentTarget(
                f"adapter.targets: {target!r} is no linear module of the model's {layers} decoder "
                f"layers{meant}; use all-linear, or names among {', '.join(LINEARS)}"
            )
        found |= named
    return tuple(linear for linear in LINEARS if linear in found)


@dataclass(frozen=True)
class AdapterSetup:
    """Low-rank matrices beside frozen ones."""

    rank: int
    targets: tuple[str, ...] = LINEARS
    quantised: bool = False
    """QLoRA: the layers' matrices in 4 bits, in blocks of 64 with scales quantised once more."""
    dropout: float = 0.0
    embeddings: bool = False
    """Whether both embedding matrices are trained in full."""
    dora: bool = False


@dataclass(frozen=True)
class Setup:
    """How one rank trains."""

    micro_batch: int
    """Rows."""
    sequence_length: int
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"
    recompute: Literal["none", "selective", "full"] = "none"
    device: Literal["cpu", "cuda"] = "cpu"
    by_lengths: bool = False
    """Whether attention's kernel is told documents by their lengths, not by a mask."""
    document_mask: bool = True
    accumulates: bool = True
    """Whether steps have several micro-batches on a rank."""
    ranks: int = 1
    replicas: int = 1
    """Groups of ranks that each hold the whole model; as many as ranks: nothing is split."""
    offload: bool = False
    optimizer: str = "adamw"
    trainable: Literal["all", "embeddings", "new-rows"] = "all"
    adapter: AdapterSetup | None = None

    @property
    def shards(self) -> int:
        """Ranks that share one copy of weights, gradients and moments; with QLoRA each has all."""
        if self.adapter is not None and self.adapter.quantised:
            return 1
        return self.ranks // self.replicas

    @property
    def wide(self) -> int:
        """Bytes of a number in weights, gradients, moments and the residual stream."""
        return 8 if self.precision == "fp64" else 4

    @property
    def narrow(self) -> int:
        """Bytes of a number in matrix products."""
        return BYTES[self.precision]

    @property
    def tokens(self) -> int:
        """Tokens of a micro-batch."""
        return self.micro_batch * self.sequence_length

    @property
    def trains_layers(self) -> bool:
        """Whether the layers' own parameters get gradients."""
        return self.adapter is None and self.trainable == "all"

    @property
    def trains_embeddings(self) -> bool:
        """Whether the embedding matrices get gradients."""
        return self.adapter.embeddings if self.adapter else True

    def saves_input(self, linear: str) -> bool:
        """Whether a gradient needs what goes into a matrix of the layers."""
        if self.adapter is not None:
            return linear in self.adapter.targets
        return self.trainable == "all"


def adapter_parameters(shape: ModelShape, adapter: AdapterSetup) -> int:
    """Parameters that an adapter adds: r (inputs + outputs) for each target, with DoRA also a
    magnitude for each output.
    """
    linears = shape.linears()
    return shape.num_hidden_layers * sum(
        adapter.rank * sum(linears[name]) + (linears[name][1] if adapter.dora else 0)
        for name in adapter.targets
    )


def trained_parameters(shape: ModelShape, setup: Setup) -> int:
    """Parameters with gradients and moments."""
    if setup.adapter is not None:
        own = shape.embeddings if setup.adapter.embeddings else 0
        return adapter_parameters(shape, setup.adapter) + own
    return shape.parameters if setup.trainable == "all" else shape.embeddings


def matmul_counts(shape: ModelShape, setup: Setup) -> tuple[int, int]:
    """Parameters of matrix products that a token passes, and those of them that get gradients."""
    if setup.adapter is not None:
        added = adapter_parameters(shape, setup.adapter)
        head = shape.embedding if setup.adapter.embeddings else 0
        return shape.matmul_parameters + added, added + head
    if setup.trainable == "all":
        return shape.matmul_parameters, shape.matmul_parameters
    return shape.matmul_parameters, shape.embedding
