"""The header of llama2.c's model files. Imports nothing heavy: `puna plan` reads it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.stage import StageError
from tasks.checkpoints.llama_config import llama_config

ROPE_THETA = 10_000.0
NORM_EPSILON = 1e-5
HEADER_BYTES = 28


@dataclass(frozen=True)
class Header:
    """The header of a legacy model file: sizes, and whether the output matrix is shared."""

    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    sequence: int
    shared: bool

    @property
    def head(self) -> int:
        """Dimensions of one attention head."""
        return self.dim // self.heads

    def config(self) -> dict[str, Any]:
        """The model's config.json."""
        return llama_config(
            hidden_size=self.dim,
            intermediate_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            vocab_size=self.vocabulary,
            max_position_embeddings=self.sequence,
            rope_theta=ROPE_THETA,
            tie_word_embeddings=self.shared,
            bos_token_id=1,
            eos_token_id=2,
            rms_norm_eps=NORM_EPSILON,
        )


def read_header(path: Path) -> Header:
    """The header of a legacy model file; `StageError` if the numbers are impossible."""
    with path.open("rb") as file:
        blob = file.read(HEADER_BYTES)
    if len(blob) < HEADER_BYTES:
        raise StageError(
            f"{path}: {len(blob)} bytes, shorter than llama2.c's header of {HEADER_BYTES}; "
            "download it again"
        )
    dim, hidden, layers, heads, kv_heads, vocabulary, sequence = struct.unpack("<7i", blob)
    header = Header(dim, hidden, layers, heads, kv_heads, abs(vocabulary), sequence, vocabulary > 0)
    sizes = (dim, hidden, layers, heads, kv_heads, header.vocabulary, sequence)
    if min(sizes) <= 0 or dim % heads or heads % kv_heads:
        raise StageError(
            f"{path}: the header {sizes} is not that of a legacy llama2.c model; export the model "
            "as version 0 (versions 1 and 2 are not supported)"
        )
    return header


def files_of(folder: Path) -> tuple[Path, Path] | None:
    """The model file of a folder of llama2.c's and its tokenizer (`tok*.bin`); None for another
    kind of folder.
    """
    bins = sorted(folder.glob("*.bin"))
    tokenizers = [path for path in bins if path.name.startswith("tok")]
    models = [
        path
        for path in bins
        if path not in tokenizers and not path.name.startswith("pytorch_model")
    ]
    if len(tokenizers) == 1 and len(models) == 1:
        return models[0], tokenizers[0]
    return None
