"""How numbers are computed: precision, threads, deterministic algorithms, random state.

| precision | weights, moments | matrix products | loss scale |
|---|---|---|---|
| fp32 | float32 | float32 | no |
| bf16 | float32 | bfloat16 | no |
| fp16 | float32 | float16 | yes (`tasks.training.step.loss_scale`) |
| fp64 | float64 | float64 | no |

The cross entropy is computed in float32 or wider. fp64 serves checks: transformers computes norms
and rotary angles in float32 whatever the weights' type (`tests/tasks/training/doubles.py` has them
in float64).
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from tasks.training.recipe.exclusions import fp16_on_ranks
from tasks.training.recipe.sections import Precision

WEIGHT_DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.float32,
    "fp16": torch.float32,
    "fp64": torch.float64,
}
"""Type of weights, gradients and moments."""

COMPUTE_DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp64": torch.float64,
}
"""Type of the operands of matrix products."""


class PrecisionError(ValueError):
    """The device cannot compute in the precision asked for; the message says what to use."""


def require_precision(precision: Precision, device: torch.device, world_size: int = 1) -> None:
    """Refuse a precision that would not work, or only by slow emulation.

    Raises:
        PrecisionError: bf16 on a GPU without it; fp16 on several ranks; fp64 on a GPU without it.
    """
    if reason := fp16_on_ranks(precision, world_size):
        raise PrecisionError(reason)
    if precision == "bf16" and device.type == "cuda" and not _has_bf16(device):
        name = torch.cuda.get_device_name(device)
        raise PrecisionError(
            f"precision: bf16, but {name} has no bfloat16: use fp16 (on one device) or fp32"
        )
    if precision == "fp64" and device.type == "mps":
        raise PrecisionError("precision: fp64, but mps has no float64: use fp32, or the cpu")


def _has_bf16(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0) or torch.version.hip is not None


def make_reproducible(cpu_threads: int, seed: int) -> None:
    """Make torch bitwise reproducible: threads, algorithms, random state."""
    torch.set_num_threads(cpu_threads)
    torch.use_deterministic_algorithms(True)
    # We read no uninitialised memory, and filling it costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)


def autocast(
    precision: Precision, device: torch.device | str = "cpu"
) -> contextlib.AbstractContextManager[Any]:
    """The context in which the forward pass runs on `device`."""
    if precision in ("bf16", "fp16"):
        return torch.autocast(torch.device(device).type, dtype=COMPUTE_DTYPES[precision])
    return contextlib.nullcontext()
