"""A new Llama: shapes from transformers, values drawn here, so that no release of it can change them."""

from __future__ import annotations

from typing import Any

import torch


def new_tensors(config: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    """Matrices normal with `initializer_range`, norms one; drawn in float32 in the order of their names."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in LlamaForCausalLM(LlamaConfig(**config)).state_dict().items()}
    if config["tie_word_embeddings"]:
        shapes.pop("lm_head.weight", None)
    generator = torch.Generator().manual_seed(seed)
    dtype = getattr(torch, config["dtype"])
    tensors = {}
    for name in sorted(shapes):
        value = torch.ones(shapes[name]) if len(shapes[name]) == 1 else torch.empty(shapes[name])
        if value.dim() > 1:
            value.normal_(0.0, config["initializer_range"], generator=generator)
        tensors[name] = value.to(dtype)
    return tensors
