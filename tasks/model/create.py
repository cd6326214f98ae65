"""Initialises a new Llama: shapes come from transformers, values from NumPy.

Drawing the values here keeps them the same across transformers releases. NumPy draws them in
float64, because the last bits of torch's `normal_` depend on the processor (with AVX2 or without).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def new_tensors(config: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    """The model's tensors by name: matrices normal with deviation `initializer_range`, norms one.

    Values are drawn in the order of the names.
    """
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
        is_norm = len(shape) == 1
        value = (
            torch.ones(shape) if is_norm else normal(generator, shape, config["initializer_range"])
        )
        tensors[name] = value.to(dtype)
    return tensors


def normal(generator: np.random.Generator, shape: Sequence[int], deviation: float) -> torch.Tensor:
    """Normal values with mean 0 as float32, the same on every processor."""
    return torch.from_numpy(
        (generator.standard_normal(tuple(shape)) * deviation).astype(np.float32)
    )
