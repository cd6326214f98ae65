"""How numbers are computed: precision, threads, deterministic algorithms, random state."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from tasks.training.sections import Precision

WEIGHT_DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.float32,
    "fp64": torch.float64,
}
"""Type of the weights by precision; bf16 computes in bfloat16 over float32 weights."""


def make_reproducible(cpu_threads: int, seed: int) -> None:
    """Make torch bitwise reproducible: threads, algorithms, random state."""
    torch.set_num_threads(cpu_threads)
    torch.use_deterministic_algorithms(True)
    # We read no uninitialised memory, and filling it costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)


def autocast(precision: Precision) -> contextlib.AbstractContextManager[Any]:
    """The context in which the forward pass runs."""
    if precision == "bf16":
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return contextlib.nullcontext()
