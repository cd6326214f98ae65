"""Adapters put into a model: PEFT's layers around frozen ones, with weights that follow from the
seed alone.

Initial weights are those of LoRA's reference: A uniform in +-1 / sqrt(in), B zero, so that training
begins at the model as it is; with DoRA, magnitudes are the norms of W's rows. They are drawn by
(seed, name) on the CPU, so they are the same for every number of ranks and every device.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tasks.training.adapters.targets import AdapterError, linear_modules, short_targets
from tasks.training.distributed.parts import local, part_of
from tasks.training.model.names import ADAPTER, is_adapter
from tasks.training.recipe.adapter import Adapter

MISSING = (
    "adapter: {kind} needs {package}, which is not installed; install puna[{extra}], or "
    "`pip install {package}` on a node without Puna's own environment"
)


def require_peft() -> Any:
    """The module `peft`.

    Raises:
        AdapterError: it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise AdapterError(MISSING.format(kind="lora", package="peft", extra="adapters")) from error
    return peft


def peft_config(adapter: Adapter, names: list[str], linear: list[str], *, transposed: bool) -> Any:
    """PEFT's configuration of an adapter on the modules `names`."""
    return require_peft().LoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=short_targets(names, linear),
        use_dora=adapter.dora,
        use_rslora=adapter.rslora,
        fan_in_fan_out=transposed,
        bias="none",
        task_type="CAUSAL_LM",
    )


def inject(language_model: nn.Module, adapter: Adapter, names: list[str], seed: int) -> None:
    """Put an adapter on the modules `names`, in place; everything else is frozen.

    Its weights are float32 (float64 over float64 weights), without values where the model is on
    the meta device: `initialise` sets them later.
    """
    peft = require_peft()
    modules = dict(language_model.named_modules())
    weights: list[Any] = [modules[name].weight for name in names]
    on_meta = weights[0].is_meta
    transposed = any(type(modules[name]).__name__ == "Conv1D" for name in names)
    config = peft_config(adapter, names, linear_modules(language_model), transposed=transposed)
    peft.inject_adapter_in_model(
        config, language_model, adapter_name=ADAPTER, low_cpu_mem_usage=on_meta
    )
    wide = torch.float64 if weights[0].dtype == torch.float64 else torch.float32
    for name, parameter in language_model.named_parameters():
        if is_adapter(name):
            parameter.data = parameter.data.to(wide)
    if not on_meta:
        initialise(language_model, seed)


def adapted(language_model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Names and modules with an adapter."""
    for name, module in language_model.named_modules():
        if ADAPTER in getattr(module, "lora_A", {}):
            yield name, module


@torch.no_grad()
def initialise(language_model: nn.Module, seed: int) -> None:
    """Set the weights of adapters; of tensors split over ranks, this rank's rows."""
    from tasks.training.adapters.quantise import base_weight

    for name, module in adapted(language_model):
        first = module.lora_A[ADAPTER].weight
        bound = 1 / math.sqrt(first.shape[1])
        drawn = torch.empty(first.shape, dtype=first.dtype)
        drawn.uniform_(-bound, bound, generator=_generator(seed, name))
        part = part_of(first)
        local(first).copy_(drawn[part.first : part.last])
        local(module.lora_B[ADAPTER].weight).zero_()
        if ADAPTER in (module.lora_magnitude_vector or {}):
            magnitudes = module.lora_magnitude_vector[ADAPTER].weight
            if module.fan_in_fan_out and part_of(magnitudes) != part_of(magnitudes).whole(
                magnitudes.shape
            ):
                raise AdapterError(
                    f"adapter.dora: {name} is stored transposed, which DoRA cannot split over "
                    "ranks; set dora: false, or devices.ranks: 1"
                )
            local(magnitudes).copy_(row_norms(base_weight(module), module.fan_in_fan_out))


def row_norms(weight: Tensor, transposed: bool) -> Tensor:
    """L2 norms of a weight's outputs (out,), of this rank's rows."""
    norms: Tensor = torch.linalg.vector_norm(weight, dim=0 if transposed else 1)
    return norms


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
