"""Writes a Llama's `config.json` in full, so that its bytes do not depend on the defaults of a
transformers release.
"""

from __future__ import annotations

from typing import Any

from tasks.checkpoints.config_keys import for_all_readers


def llama_config(
    *,
    hidden_size: int,
    intermediate_size: int,
    num_hidden_layers: int,
    num_attention_heads: int,
    num_key_value_heads: int,
    vocab_size: int,
    max_position_embeddings: int,
    rope_theta: float,
    tie_word_embeddings: bool,
    bos_token_id: int | None,
    eos_token_id: int | None,
    rms_norm_eps: float = 1e-5,
    initializer_range: float = 0.02,
    dtype: str = "float32",
) -> dict[str, Any]:
    """Configuration of a `LlamaForCausalLM` with silu and default rope, without biases."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden_size,
        "intermediate_size": intermediate_size,
        "num_hidden_layers": num_hidden_layers,
        "num_attention_heads": num_attention_heads,
        "num_key_value_heads": num_key_value_heads,
        "head_dim": hidden_size // num_attention_heads,
        "vocab_size": vocab_size,
        "max_position_embeddings": max_position_embeddings,
        "rms_norm_eps": rms_norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": rope_theta},
        "tie_word_embeddings": tie_word_embeddings,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "initializer_range": initializer_range,
        "bos_token_id": bos_token_id,
        "eos_token_id": eos_token_id,
        "dtype": dtype,
    }
    return for_all_readers(config)
