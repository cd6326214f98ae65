"""A new Llama: shapes from transformers, values drawn here, so that no release of it can change
them.

NumPy draws them, in float64: torch's `normal_` takes another path on every kind of processor (AVX2
or not), and gives other last bits on each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def new_tensors(config: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    """Matrices normal with `initializer_range`, norms one; drawn in the order of their names."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        shapes = {
            name: tensor.shape
            for name, tensor in LlamaForCausalLM(LlamaConfig(**config)).state_dict().items()
        }
    if config["tie_word_embeddings"]:
        shapes.pop("lm_head.weight", None)
    generator = np.random.Generator(np.random.PCG64(seed))
    dtype = getattr(torch, config["dtype"])
    tensors = {}
    for name in sorted(shapes):
        shape = shapes[name]
        value = (
            torch.ones(shape)
            if len(shape) == 1
            else normal(generator, shape, config["initializer_range"])
        )
        tensors[name] = value.to(dtype)
    return tensors


def normal(generator: np.random.Generator, shape: Sequence[int], deviation: float) -> torch.Tensor:
    """Normal values with mean 0 as float32, equal on every processor."""
    return torch.from_numpy(
        (generator.standard_normal(tuple(shape)) * deviation).astype(np.float32)
    )
