"""Weights of a model as a plain checkpoint has them: adapters merged, 4-bit layers dequantised.

A merged weight is W + s B A, or with DoRA m (W + s B A) / ||W + s B A|| by row, computed once in
float32 (float64 over float64 weights). Each tensor is made when it is asked for, by rows: a rank
needs the whole of A and B, which are small, and only its own rows of W. So a model in 4 bits is
written without ever being in memory in full.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tasks.training.adapters.inject import adapted, row_norms
from tasks.training.adapters.quantise import base_weight, dequantised, is_quantised
from tasks.training.distributed.parts import Part, local, part_of
from tasks.training.distributed.sharding import names_of
from tasks.training.model.names import ADAPTER, is_adapter, plain_name


@dataclass(frozen=True)
class Weight:
    """A tensor of a plain checkpoint."""

    names: tuple[str, ...]
    """The first, and those of matrices tied to it."""
    part: Part
    """What this rank holds of it."""
    dtype: torch.dtype
    own: Callable[[], Tensor]
    """Makes this rank's part. All ranks call it together."""

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor."""
        return math.prod(self.part.shape) * self.dtype.itemsize


def plain_weights(language_model: nn.Module) -> dict[str, Weight]:
    """First name -> weight, of all parameters but those of adapters; the widest type of any."""
    merged = {f"{name}.base_layer.weight": module for name, module in adapted(language_model)}
    quantised: dict[int, Any] = {
        id(module.weight): module for module in language_model.modules() if is_quantised(module)
    }
    biases = {
        id(module.bias): module.unchanged_bias
        for module in quantised.values()
        if module.bias is not None
    }
    held = names_of(language_model)
    dtype = torch.float32
    if any(parameter.dtype == torch.float64 for parameter, _ in held.values()):
        dtype = torch.float64
    weights = {}
    for first, (parameter, names) in held.items():
        if is_adapter(first):
            continue
        part, own = part_of(parameter), _held(biases.get(id(parameter), parameter), dtype)
        if layer := quantised.get(id(parameter)):
            part = Part.whole(layer.weight.quant_state.shape)
            own = _dequantised(layer)
        if module := merged.get(first):
            own = _merged(module, part)
        plain = tuple(plain_name(name) for name in names)
        weights[plain[0]] = Weight(plain, part, dtype, own)
    return weights


def parameter_count(language_model: nn.Module) -> int:
    """Number of scalars of the plain model, tied ones once, without adapters."""
    return sum(math.prod(weight.part.shape) for weight in plain_weights(language_model).values())


def _held(tensor: Tensor, dtype: torch.dtype) -> Callable[[], Tensor]:
    return lambda: local(tensor).to(dtype)


def _dequantised(layer: Any) -> Callable[[], Tensor]:
    return lambda: dequantised(layer)


def _merged(module: Any, part: Part) -> Callable[[], Tensor]:
    return lambda: merged_rows(module, part)


@torch.no_grad()
def merged_rows(module: Any, part: Part) -> Tensor:
    """Rows of a weight with its adapter merged, as the module computes."""
    weight: Tensor = base_weight(module)
    first, second = (_whole(m[ADAPTER].weight) for m in (module.lora_A, module.lora_B))
    first, second = first.to(weight.dtype), second.to(weight.dtype)
    scale = module.scaling[ADAPTER]
    transposed = module.fan_in_fan_out
    rows = slice(part.first, part.last)
    if transposed:  # W is stored as (in, out)
        weight = weight + scale * (first[:, rows].T @ second.T)
    else:
        weight = weight + scale * (second[rows] @ first)
    if ADAPTER not in (module.lora_magnitude_vector or {}):
        return weight
    factors = local(module.lora_magnitude_vector[ADAPTER].weight).to(weight.dtype)
    factors = factors / row_norms(weight, transposed)
    merged: Tensor = weight * (factors if transposed else factors[:, None])
    return merged


def _whole(tensor: Tensor) -> Tensor:
    """A tensor gathered from all ranks that hold a part of it."""
    if isinstance(tensor, DTensor):
        tensor = tensor.full_tensor()
    return tensor.detach()
