"""What is changed on a loaded model before it is sharded: recomputed activations, compiled layers.

Both act on whole decoder layers and leave the names of parameters as they are. Recomputing
(activation checkpointing, Chen et al. 2016, arXiv:1604.06174) keeps only the inputs of a layer and
runs its forward pass again in the backward pass. `selective` also keeps the results of matrix
products and attention, which are most of the work and, beside all else a layer remembers, little of
the memory (as Megatron and torchtitan do).

Both change `layer.forward`, so that hooks of the module (FSDP2's) stay outside and run once.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from tasks.training.model.layers import decoder_layers
from tasks.training.recipe.sections import Recompute
from tasks.training.stage import TrainingParameters

_LOG = logging.getLogger(__name__)

_KEPT = (
    "mm",
    "addmm",
    "bmm",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    "_flash_attention_forward",
)
"""Operators of `torch.ops.aten` whose results `selective` keeps; a release may lack some."""


def prepare(language_model: nn.Module, parameters: TrainingParameters) -> list[str]:
    """Apply `recompute` and `compile`, before the model is sharded; returns notes for the log.

    Adapters must be in place, and the start-up probes done (they would compile shapes that training
    never sees). A compiler that is missing is a note: the layers then run uncompiled.

    Raises:
        ValueError: the model has no list of decoder layers.
    """
    notes: list[str] = []
    recompute_layers(language_model, parameters.recompute)
    if parameters.compile:
        reason = compiler_fault()
        if reason:
            notes.append(f"compile: true, but torch.compile does not work here: {reason}")
        else:
            for layer in decoder_layers(language_model):
                layer.compile()
    for note in notes:
        _LOG.warning("%s", note)
    return notes


def recompute_layers(language_model: nn.Module, recompute: Recompute) -> None:
    """Make every decoder layer recompute its activations in the backward pass."""
    if recompute == "none":
        return
    options: dict[str, Any] = {"use_reentrant": False}
    if recompute == "selective":
        options["context_fn"] = functools.partial(create_selective_checkpoint_contexts, _policy)
    for layer in decoder_layers(language_model):
        layer.forward = _recomputed(layer.forward, options)  # type: ignore[method-assign]


def _recomputed(forward: Any, options: dict[str, Any]) -> Any:
    @functools.wraps(forward)
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, **options, **kwargs)

    return recomputed


def _policy(_context: Any, operator: Any, *_args: Any, **_kwargs: Any) -> CheckpointPolicy:
    if operator in _kept_operators():
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


@functools.cache
def _kept_operators() -> frozenset[Any]:
    packets = [getattr(torch.ops.aten, name, None) for name in _KEPT]
    return frozenset(packet.default for packet in packets if packet is not None)


@functools.cache
def compiler_fault() -> str:
    """Why torch.compile does not work on this machine; "" where it does. Compiles a tiny function.

    Without a C++ compiler (CPU) or Triton (CUDA) the error would come in the first step.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        with torch.no_grad():
            torch.compile(lambda x: x * 2 + 1)(torch.ones(8, device=device))
    except Exception as error:  # what a backend raises has no common class
        lines = [line for line in str(error).splitlines() if line.strip()]
        return lines[0] if lines else type(error).__name__
    finally:
        torch._dynamo.reset()
    return ""
