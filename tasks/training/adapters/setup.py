"""What an adapter changes in how a model is loaded: frozen layers in 16 or 4 bits, and its plan.

| of a decoder layer | fp32 | bf16, fp16 |
|---|---|---|
| frozen linear weights, lora | float32 | as stored in 16 bits, else float32 |
| frozen linear weights, qlora | 4 bits | 4 bits |
| all else, and adapters | float32 | float32 |

Weights that are stored in 16 bits are what autocast makes of them anyway, so the first row changes
no result.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from tasks.training.adapters.inject import require_peft
from tasks.training.adapters.quantise import quantise
from tasks.training.adapters.targets import AdapterError, linear_modules, resolve_targets
from tasks.training.distributed.parts import StoredTensors
from tasks.training.distributed.sharding import weight_files
from tasks.training.model.layers import decoder_layers
from tasks.training.model.numerics import COMPUTE_DTYPES, WEIGHT_DTYPES
from tasks.training.recipe.adapter import Adapter
from tasks.training.stage import TrainingParameters

_LOG = logging.getLogger(__name__)
_SIXTEEN = {"BF16": torch.bfloat16, "F16": torch.float16}


class AdapterPlan(NamedTuple):
    """What an adapter is put on, and what is trained beside it."""

    targets: list[str]
    embeddings: Literal["full", "new-rows", "frozen"]


def plan_adapter(empty: Any, adapter: Adapter, has_new_rows: bool) -> AdapterPlan:
    """Settle an adapter on a model, whose weights need not be there.

    Raises:
        ValueError: PEFT is missing, or targets or embeddings do not fit the model.
    """
    require_peft()
    embeddings = adapter.embeddings_trained(has_new_rows)
    targets = resolve_targets(empty, adapter.targets)
    others = unadapted(empty) if adapter.targets == "all-linear" else {}
    if others:
        _LOG.warning(
            "%s of the decoder layers are in %s, which are no linear modules: they stay as they "
            "are, without an adapter",
            f"{sum(p.numel() for p in others.values()):,} weights",
            ", ".join(sorted({name.rsplit(".", 1)[-1] for name in others})),
        )
    return AdapterPlan(targets, embeddings)


def unadapted(language_model: nn.Module) -> dict[str, nn.Parameter]:
    """Matrices of decoder layers that are no linear module's (fused experts), by name."""
    linear = set(linear_modules(language_model))
    inside = {id(p) for layer in decoder_layers(language_model) for p in layer.parameters()}
    return {
        name: parameter
        for name, parameter in language_model.named_parameters()
        if id(parameter) in inside and parameter.ndim >= 2 and name.rpartition(".")[0] not in linear
    }


def held_dtype(folder: str | Path, parameters: TrainingParameters) -> torch.dtype:
    """The type that weights are loaded in.

    Raises:
        AdapterError: qlora in a precision without 4-bit products.
    """
    wide = WEIGHT_DTYPES[parameters.precision]
    if parameters.adapter is None:
        return wide
    if parameters.adapter.kind == "qlora" and parameters.precision == "fp64":
        raise AdapterError(
            "adapter.kind: qlora with precision: fp64; 4-bit layers compute in 32 or 16 bits: set "
            "precision: fp32 or bf16, or kind: lora"
        )
    if parameters.precision not in ("bf16", "fp16"):
        return wide
    stored = StoredTensors(weight_files(Path(folder))).dtypes
    return _SIXTEEN.get(next(iter(stored)), wide) if len(stored) == 1 else wide


def hold_frozen(language_model: Any, parameters: TrainingParameters, device: torch.device) -> None:
    """Widen what is not a linear weight of a layer, and hold these in 4 bits for qlora."""
    if parameters.adapter is None:
        return
    wide = WEIGHT_DTYPES[parameters.precision]
    linear = set(linear_modules(language_model))
    for name, parameter in language_model.named_parameters():
        if name.rpartition(".")[0] not in linear:
            parameter.data = parameter.data.to(wide)
    if parameters.adapter.kind == "qlora":
        quantise(language_model, device, COMPUTE_DTYPES[parameters.precision])
