"""Floating-point operations of training, for model FLOPs utilisation (MFU).

The count is that of PaLM (Chowdhery et al. 2022, arXiv:2204.02311, appendix B): a token costs 6
operations (2 forward, 4 backward) for each parameter of a matrix product, and attention 12 times
the dot products of a head's width. Here attention counts what causal attention within documents
needs: a document of n tokens has n (n + 1) / 2 pairs of query and key. The input embedding is a
lookup and counts nothing; the output head counts, tied or not. Recomputed activations do not count,
nor does unpacking of 4-bit weights.

Of the 4 backward operations 2 are the gradient of a product's input and 2 that of its weights (each
a product of the forward's size: Kaplan et al. 2020, arXiv:2001.08361, section 2.1). A frozen matrix
lacks the latter, so it costs 4 in all, as under LoRA; the matrices of an adapter cost 6 beside it.
"""

from __future__ import annotations

import math
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
    trained_parameters: int | None = None
    """Of `matmul_parameters` those with a gradient of their own; None: all."""


def document_pairs(lengths: Iterable[int]) -> int:
    """Pairs of query and key of causal attention within documents of these lengths."""
    return sum(length * (length + 1) // 2 for length in lengths)


def training_flops(shape: MatmulShape, tokens: int, pairs: int) -> int:
    """Floating-point operations of forward and backward over `tokens` with `pairs` of attention.

    Args:
        pairs: from `document_pairs`; T (T + 1) / 2 for each row of T without a document mask.

    Example: one matrix of 10 parameters, one layer of width 2, a document of 2 tokens: 3 pairs, so
    6 x 10 x 2 + 12 x 1 x 2 x 3 = 192.
    """
    trained = shape.trained_parameters
    products = 4 * shape.matmul_parameters + 2 * (
        shape.matmul_parameters if trained is None else trained
    )
    return products * tokens + 12 * shape.layers * shape.attention_width * pairs


def shape_of(language_model: Any) -> MatmulShape:
    """The shape of a loaded transformers model, with the adapter and the frozen weights it has.

    Every parameter of two dimensions counts but the input embedding's; stacked experts (three
    dimensions) by the share that a token is routed to. The lowest layer counts as the others do,
    though with a frozen embedding its inputs need no gradient.
    """
    config = language_model.config
    embedding = language_model.get_input_embeddings().weight
    head = language_model.get_output_embeddings().weight
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    routed = getattr(config, "num_experts_per_tok", None)
    share = routed / experts if experts and routed else 1.0
    matrices = trained = 0
    for name, parameter in language_model.named_parameters():
        # a tied matrix is a lookup at one end, a product at the other
        if (parameter is embedding and head is not embedding) or parameter.ndim < 2:
            continue
        size = round(_size(parameter) * (share if "experts." in name else 1))
        matrices += size
        trained += size if parameter.requires_grad else 0
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = config.num_attention_heads * width
    return MatmulShape(matrices, config.num_hidden_layers, heads, trained)


def _size(parameter: Any) -> int:
    """Weights of a parameter; those of 4 bits lie two to an element."""
    packed = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if packed is None else math.prod(packed.shape))
