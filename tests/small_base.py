"""A base that a plan accepts, written in milliseconds: zeros for weights, bytes for a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tasks.checkpoints.shapes import ModelShape

SIZES = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 6,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip


def write_base(folder: Path, *, tokens: int = 260, rows: int | None = None, **config: Any) -> Path:
    """A checkpoint in `folder`, which may exist: `tokens` in its tokenizer (256 or more), `rows` in
    its matrices (by default as many), and what `config` changes of its configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(byte_tokenizer(tokens).to_str())
    settings = SIZES | {"vocab_size": rows or tokens} | config
    (folder / "config.json").write_text(json.dumps(settings))
    shape = ModelShape.from_config(settings | {"model_type": "llama"})
    weights = {name: np.zeros(size, np.float16) for name, size in shape.tensors().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def byte_tokenizer(tokens: int) -> Tokenizer:
    """Every byte is a token; the others are pieces that no merge makes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *(f"piece {number}" for number in range(tokens - len(alphabet)))]
    tokenizer = Tokenizer(models.BPE({piece: id for id, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
