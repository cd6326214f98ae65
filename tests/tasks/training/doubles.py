"""Llama with norms, angles and loss in float64, for comparisons beyond float32.

transformers computes all three in float32 whatever the weights' type. A difference of 1e-16 before
such a norm can round to another float32, and comes out as one of 1e-8.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.loss import loss_utils
from transformers.models.llama import modeling_llama


def _norm(self: Any, hidden: Tensor) -> Tensor:
    variance = hidden.square().mean(-1, keepdim=True)
    return self.weight * (hidden * torch.rsqrt(variance + self.variance_epsilon))


@torch.no_grad()
def _angles(self: Any, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    frequencies = position_ids[..., None].double() * self.inv_freq.double()
    angles = torch.cat((frequencies, frequencies), dim=-1)
    return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


def _loss(
    logits: Tensor, labels: Tensor, vocab_size: int, num_items_in_batch: Any = None,
    shift_labels: Tensor | None = None, **_: Any,
) -> Tensor:  # fmt: skip
    """`ForCausalLMLoss` without its conversion to float32."""
    if shift_labels is None:
        shift_labels = functional.pad(labels, (0, 1), value=-100)[..., 1:]
    targets, flat = shift_labels.flatten(), logits.view(-1, vocab_size)
    if num_items_in_batch is None:
        return functional.cross_entropy(flat, targets)
    return functional.cross_entropy(flat, targets, reduction="sum") / num_items_in_batch


@contextmanager
def in_float64() -> Iterator[None]:
    """Norms, angles and losses of every Llama in the type of its states."""
    norm, rotary = modeling_llama.LlamaRMSNorm, modeling_llama.LlamaRotaryEmbedding
    before = norm.forward, rotary.forward
    loss = loss_utils.LOSS_MAPPING["ForCausalLM"]
    loss_utils.LOSS_MAPPING["ForCausalLM"] = _loss
    norm.forward, rotary.forward = _norm, _angles  # type: ignore[method-assign]
    try:
        yield
    finally:
        norm.forward, rotary.forward = before  # type: ignore[method-assign]
        loss_utils.LOSS_MAPPING["ForCausalLM"] = loss
