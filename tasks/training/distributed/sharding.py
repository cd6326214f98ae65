"""A model split over ranks: FSDP2 on each decoder layer and on the root, filled row by row.

1. The model is built without memory for its weights (on torch's meta device; buffers are real).
2. `fully_shard` splits each decoder layer, and the rest of the root: embeddings, last norm and
   head. Tied matrices are one parameter of that group. The root is `LossModel`, so that head and
   cross entropy see the whole matrix.
3. Each rank makes room for its shards and reads only their rows from the checkpoint.

So no process ever holds the whole model, nor a second copy of its part.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.distributed.fsdp import (
    FSDPModule,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from tasks.training.distributed.parts import StoredTensors, local, part_of
from tasks.training.distributed.ranks import Ranks
from tasks.training.model.names import is_adapter, plain_name

_LOG = logging.getLogger(__name__)


def shard(model: nn.Module, layers: Iterable[nn.Module], ranks: Ranks) -> None:
    """Split a model over ranks, in place; its parameters become DTensors.

    Gradients are summed over ranks, not averaged: losses are divided by the valid tokens of the
    step on all ranks, so the sum is the gradient of the mean, exactly as in a single process.

    Args:
        model: the root.
        layers: its decoder layers.
    """
    for layer in layers:
        fully_shard(layer, mesh=ranks.mesh)
    fully_shard(model, mesh=ranks.mesh)
    for name in ("within", "next_logits"):  # start-up probes, and text samples
        register_fsdp_forward_method(model, name)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            # NCCL would otherwise scale by the factor within the reduction; Gloo cannot.
            module.set_force_sum_reduction_for_comms(True)


def reshard(model: nn.Module) -> None:
    """Drop whole parameters that a forward pass without a backward one left (an evaluation, a
    probe): while they are there, the model's parameters are these, not the shards.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def reduce_over_replicas(model: nn.Module, now: bool) -> None:
    """Whether the next backward pass also sums gradients over replicas: only a step's last needs
    to, as each replica adds up its own until then. Does nothing without ranks.
    """
    if isinstance(model, FSDPModule):
        model.set_requires_all_reduce(now)


def sum_replicated(model: nn.Module, ranks: Ranks) -> None:
    """Sum over ranks the gradients of parameters that FSDP does not manage (each rank has them
    whole).
    """
    if ranks.world_size > 1:
        for parameter in model.parameters():
            if parameter.grad is not None and not isinstance(parameter.grad, DTensor):
                ranks.sum(parameter.grad)


@contextlib.contextmanager
def without_weights() -> Iterator[None]:
    """Modules made inside have their parameters on the meta device, their buffers in memory."""
    register = nn.Module.register_parameter

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        # One that is on the meta device already stays the same object: it may be tied.
        if parameter is not None and not parameter.is_meta:
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = on_meta  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def names_of(module: nn.Module) -> dict[str, tuple[nn.Parameter, list[str]]]:
    """First name -> parameter and all its names; a tied one has several."""
    named: dict[int, tuple[nn.Parameter, list[str]]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        named.setdefault(id(parameter), (parameter, []))[1].append(name)
    return {names[0]: (parameter, names) for parameter, names in named.values()}


def fits(weights: Iterable[tuple[tuple[int, ...], Sequence[str]]], stored: StoredTensors) -> bool:
    """Whether a checkpoint holds every weight, given as (shape, names), under one of its names.

    transformers renames or joins the tensors of some families (experts); these do not.
    """
    return all(
        any(name in stored and stored.shape(name) == shape for name in names)
        for shape, names in weights
    )


def materialise(root: nn.Module, device: torch.device) -> None:
    """Give parameters on the meta device memory; buffers keep their values and move there too."""
    buffers = {name: buffer.clone() for name, buffer in root.named_buffers()}
    root.to_empty(device=device)
    for name, buffer in root.named_buffers():
        buffer.copy_(buffers[name])


@torch.no_grad()
def fill(language_model: nn.Module, stored: StoredTensors) -> None:
    """Read this rank's rows of every parameter but those of adapters, and whole buffers, from a
    checkpoint.
    """
    for first, (parameter, names) in names_of(language_model).items():
        if is_adapter(first):
            continue
        name = next(name for name in map(plain_name, names) if name in stored)
        local(parameter).copy_(stored.read(name, part_of(parameter)))
    for name, buffer in language_model.named_buffers():
        if name in stored:
            buffer.copy_(stored.read(name))


def weight_files(checkpoint: Path) -> list[Path]:
    """The safetensors files of a Hugging Face checkpoint."""
    return sorted(checkpoint.glob("*.safetensors"))
