"""Floating-point operations of training, for model FLOPs utilisation (MFU).

The count is that of PaLM (Chowdhery et al. 2022, arXiv:2204.02311, appendix B): a token costs 6
operations (2 forward, 4 backward) for each parameter of a matrix product, and attention 12 times
the dot products of a head's width. Here attention counts what causal attention within documents
needs: a document of n tokens has n (n + 1) / 2 pairs of query and key. The input embedding is a
lookup and counts nothing; the output head counts, tied or not. Recomputed activations do not count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MatmulShape:
    """What the count needs of a model."""

    matmul_parameters: int
    """Parameters of matrix products that a token passes, the head's among them, the input
    embedding's not; of experts only those that a token is routed to.
    """
    layers: int
    """Layers with attention."""
    attention_width: int
    """Query heads x their size."""


def document_pairs(lengths: Iterable[int]) -> int:
    """Pairs of query and key of causal attention within documents of these lengths."""
    return sum(length * (length + 1) // 2 for length in lengths)


def training_flops(
    shape: MatmulShape, tokens: int, pairs: int, *, trained_matmul_parameters: int | None = None
) -> int:
    """Floating-point operations of forward and backward over `tokens` with `pairs` of attention.

    Args:
        pairs: from `document_pairs`; T (T + 1) / 2 for each row of T without a document mask.
        trained_matmul_parameters: those with a gradient of their own; by default all. A frozen
            matrix needs no product for its gradient, so it costs 4 operations instead of 6 (LoRA).

    Example: one matrix of 10 parameters, one layer of width 2, a document of 2 tokens: 3 pairs, so
    6 x 10 x 2 + 12 x 1 x 2 x 3 = 192.
    """
    trained = (
        shape.matmul_parameters if trained_matmul_parameters is None else trained_matmul_parameters
    )
    products = 4 * shape.matmul_parameters + 2 * trained
    return products * tokens + 12 * shape.layers * shape.attention_width * pairs


def shape_of(language_model: Any) -> MatmulShape:
    """The shape of a loaded transformers model (before it is sharded).

    Every parameter of two dimensions counts but the input embedding's; stacked experts (three
    dimensions) by the share that a token is routed to.
    """
    config = language_model.config
    embedding = language_model.get_input_embeddings().weight
    head = language_model.get_output_embeddings().weight
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    routed = getattr(config, "num_experts_per_tok", None)
    share = routed / experts if experts and routed else 1.0
    matrices = 0
    for name, parameter in language_model.named_parameters():
        if parameter is embedding or parameter.ndim < 2:
            continue
        matrices += round(parameter.numel() * (share if "experts." in name else 1))
    if head is embedding:  # tied: a lookup at one end, a product at the other
        matrices += head.numel()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return MatmulShape(matrices, config.num_hidden_layers, config.num_attention_heads * width)
