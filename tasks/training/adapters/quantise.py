"""Frozen layers in 4 bits for QLoRA (Dettmers et al. 2023, arXiv:2305.14314), by bitsandbytes.

NF4 in blocks of 64 with double quantisation: about 4.13 bits a weight. Only linear modules of the
decoder layers; embeddings, norms and the output head stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tasks.training.adapters.targets import AdapterError, linear_modules
from tasks.training.distributed.parts import local


def require_quantization(device: torch.device) -> Any:
    """The module `bitsandbytes`, once it has shown on this device that its 4-bit products and their
    gradients are what its own dequantisation says.

    Raises:
        AdapterError: it is not installed, or does not work here.
    """
    try:
        import bitsandbytes
    except ImportError as error:
        raise AdapterError(
            "adapter.kind: qlora needs bitsandbytes, which is not installed; install "
            "puna[quantized], or set kind: lora"
        ) from error
    if reason := _fault(bitsandbytes, device):
        raise AdapterError(
            f"adapter.kind: qlora, but bitsandbytes {bitsandbytes.__version__} does not compute in "
            f"4 bits on {device}: {reason}. Set kind: lora, or train on another device"
        )
    return bitsandbytes


def _fault(bitsandbytes: Any, device: torch.device) -> str:
    """Why 4-bit layers do not work on a device; "" where they do."""
    generator = torch.Generator().manual_seed(0)
    plain = nn.Linear(128, 64, bias=False)
    with torch.no_grad():
        plain.weight.copy_(torch.randn(64, 128, generator=generator))
    inputs = torch.randn(4, 128, generator=generator).to(device).requires_grad_()
    try:
        with torch.enable_grad():
            layer = _quantised(bitsandbytes, plain, device, torch.float32)
            output = layer(inputs)
            output.sum().backward()  # type: ignore[no-untyped-call]
        weight = dequantised(layer)
    except Exception as error:  # missing kernels raise what they like
        lines = str(error).splitlines()
        return lines[0] if lines else type(error).__name__
    off = (output - inputs @ weight.T).abs().max() / output.abs().max()
    gradient = inputs.grad
    if gradient is None or not torch.allclose(gradient, weight.sum(0).expand(4, -1), rtol=1e-3):
        return "gradients through its layers are not those of their weights"
    if not off <= 1e-3:
        return f"its products are {float(off):.1e} off those of its dequantised weights"
    lost = (weight.cpu() - plain.weight).norm() / plain.weight.norm()
    return "" if lost <= 0.2 else f"its weights are {float(lost):.2f} off those quantised"


@torch.no_grad()
def quantise(language_model: Any, device: torch.device, compute: torch.dtype) -> None:
    """Replace the linear modules of decoder layers by 4-bit ones on `device`, one at a time.

    Args:
        language_model: on the CPU; what is not quantised stays there.
        compute: type of matrix products.
    """
    bitsandbytes = require_quantization(device)
    if not (names := [n for n in linear_modules(language_model) if _is_plain(language_model, n)]):
        raise AdapterError(
            f"{type(language_model).__name__} has no plain linear modules in its decoder layers "
            "to hold in 4 bits; set adapter.kind: lora"
        )
    for name in names:
        parent, _, child = name.rpartition(".")
        holder = language_model.get_submodule(parent)
        setattr(
            holder,
            child,
            _quantised(bitsandbytes, getattr(holder, child), device, compute),
        )
    language_model.is_loaded_in_4bit = True  # PEFT looks at this


def _is_plain(language_model: nn.Module, name: str) -> bool:
    return type(language_model.get_submodule(name)) is nn.Linear


def _quantised(
    bitsandbytes: Any, linear: nn.Linear, device: torch.device, compute: torch.dtype
) -> Any:
    layer = bitsandbytes.nn.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=compute,
        compress_statistics=True,
        quant_type="nf4",
        device="meta",
    )
    layer.weight = bitsandbytes.nn.Params4bit(
        linear.weight.detach(),
        requires_grad=False,
        compress_statistics=True,
        quant_type="nf4",
        module=layer,
    ).to(device)
    # In evaluation it would otherwise repack weights in place on some processors, for inference.
    layer.support_avx512bf16_for_cpu = False
    if linear.bias is not None:
        layer.bias = nn.Parameter(linear.bias.detach().to(device), requires_grad=False)
        # The layer narrows its bias to `compute` in place; this is the one that is written.
        layer.unchanged_bias = linear.bias.detach().clone()
    return layer


def is_quantised(module: Any) -> bool:
    """Whether a module holds its weight in 4 bits."""
    return getattr(getattr(module, "weight", None), "quant_state", None) is not None


@torch.no_grad()
def dequantised(layer: Any) -> Tensor:
    """The weight (out, in) that a 4-bit layer computes with, float32."""
    import bitsandbytes.functional

    weight: Tensor = bitsandbytes.functional.dequantize_4bit(
        layer.weight.data, layer.weight.quant_state
    )
    return weight.float()


def base_weight(module: Any) -> Tensor:
    """This rank's rows of the frozen weight of a module with an adapter, float32 or wider."""
    base = module.get_base_layer()
    if is_quantised(base):
        return dequantised(base)
    weight = local(base.weight)
    return weight if weight.dtype == torch.float64 else weight.float()
