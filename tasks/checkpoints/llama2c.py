"""llama2.c's model and tokenizer files (github.com/karpathy/llama2.c, `run.c` and `export.py`) as a
Hugging Face Llama.

Model, version 0 ("legacy"): seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads,
vocab_size, seq_len; a negative vocab_size says that the classifier is not shared), then float32
tensors, layer-stacked. Tokenizer: int32 longest token, then per id float32 score, int32 length,
bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.fast_tokenizers import WHITESPACE, sentencepiece_style
from tasks.checkpoints.llama_config import llama_config
from tasks.checkpoints.merges import merges_of
from tasks.checkpoints.text_files import write_json
from tasks.checkpoints.tokenizer_files import write_tokenizer

UNKNOWN, BOS, EOS = "<unk>", "<s>", "</s>"
FIRST_PLAIN_ID = 259
"""Three control tokens, then 256 bytes, then pieces."""
ROPE_THETA = 10_000.0
NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Shape:
    """The legacy header."""

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


def read_shape(path: Path) -> Shape:
    """The header of a legacy model file; `StageError` when the numbers cannot be one."""
    with path.open("rb") as file:
        header = file.read(28)
    if len(header) < 28:
        raise StageError(f"{path}: {len(header)} bytes, shorter than llama2.c's header of 28")
    dim, hidden, layers, heads, kv_heads, vocabulary, sequence = struct.unpack("<7i", header)
    shape = Shape(dim, hidden, layers, heads, kv_heads, abs(vocabulary), sequence, vocabulary > 0)
    plain = (dim, hidden, layers, heads, kv_heads, shape.vocabulary, sequence)
    if min(plain) <= 0 or dim % heads or heads % kv_heads:
        raise StageError(
            f"{path}: header {plain} is not llama2.c's legacy one (versions 1 and 2 are not "
            "supported)"
        )
    return shape


def read_weights(path: Path) -> tuple[Shape, dict[str, torch.Tensor]]:
    """The model's tensors under Hugging Face's names, float32, rotary halves in Hugging Face's
    order.
    """
    s = read_shape(path)
    values: NDArray[np.float32] = np.fromfile(path, dtype="<f4", offset=28)
    kv = s.kv_heads * s.head
    layout: list[tuple[str, tuple[int, ...]]] = [
        ("embed", (s.vocabulary, s.dim)),
        ("attention_norm", (s.layers, s.dim)),
        ("q", (s.layers, s.dim, s.dim)),
        ("k", (s.layers, kv, s.dim)),
        ("v", (s.layers, kv, s.dim)),
        ("o", (s.layers, s.dim, s.dim)),
        ("mlp_norm", (s.layers, s.dim)),
        ("gate", (s.layers, s.hidden, s.dim)),
        ("down", (s.layers, s.dim, s.hidden)),
        ("up", (s.layers, s.hidden, s.dim)),
        ("norm", (s.dim,)),
        ("rotary", (2, s.sequence, s.head // 2)),
        *([] if s.shared else [("head", (s.vocabulary, s.dim))]),
    ]
    needed = sum(int(np.prod(dims)) for _, dims in layout)
    if values.size != needed:
        raise StageError(
            f"{path}: {values.size:,} floats after the header, its shape needs {needed:,}: file "
            "cut or altered"
        )
    parts, at = {}, 0
    for name, dims in layout:
        size = int(np.prod(dims))
        parts[name] = torch.from_numpy(values[at : at + size].copy()).reshape(dims)
        at += size

    tensors = {"model.embed_tokens.weight": parts["embed"], "model.norm.weight": parts["norm"]}
    if not s.shared:
        tensors["lm_head.weight"] = parts["head"]
    for i in range(s.layers):
        layer = {
            "self_attn.q_proj": halves(parts["q"][i], s.heads),
            "self_attn.k_proj": halves(parts["k"][i], s.kv_heads),
            "self_attn.v_proj": parts["v"][i],
            "self_attn.o_proj": parts["o"][i],
            "mlp.gate_proj": parts["gate"][i],
            "mlp.down_proj": parts["down"][i],
            "mlp.up_proj": parts["up"][i],
            "input_layernorm": parts["attention_norm"][i],
            "post_attention_layernorm": parts["mlp_norm"][i],
        }
        tensors |= {
            f"model.layers.{i}.{name}.weight": tensor.contiguous() for name, tensor in layer.items()
        }
    return s, tensors


def halves(weight_HD: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of each head from rotary pairs (0, 1), (2, 3), ... to transformers' halves (0, 2, ...,
    1, 3, ...).
    """
    rows, columns = weight_HD.shape
    return (
        weight_HD.view(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)
    )


def read_pieces(path: Path, count: int) -> list[tuple[float, bytes]]:
    """`count` pairs of score and bytes; `StageError` when the file does not hold exactly these."""
    blob, at = path.read_bytes(), 4
    pieces: list[tuple[float, bytes]] = []
    try:
        for _ in range(count):
            score, length = struct.unpack_from("<fi", blob, at)
            if length < 0 or at + 8 + length > len(blob):
                raise StageError(
                    f"{path}: token {len(pieces)} claims {length} bytes at offset {at}: not a "
                    "llama2.c tokenizer"
                )
            pieces.append((score, blob[at + 8 : at + 8 + length]))
            at += 8 + length
    except struct.error as error:
        raise StageError(
            f"{path}: ends after {len(pieces)} of {count} tokens; it belongs to another model"
        ) from error
    if at != len(blob):
        raise StageError(
            f"{path}: {len(blob) - at} bytes after token {count}; it belongs to a model with more "
            "tokens"
        )
    return pieces


def read_tokenizer(path: Path, count: int) -> Tokenizer:
    """A fast tokenizer with llama2.c's BPE: best-scored pair first, byte fallback, a space in
    front.
    """
    pieces = read_pieces(path, count)
    controls = [UNKNOWN, BOS, EOS]
    names = [
        controls[i] if i < len(controls) else piece.decode().replace(" ", WHITESPACE)
        for i, (_, piece) in enumerate(pieces)
    ]
    ids = range(FIRST_PLAIN_ID, count)
    ordered = [names[i] for i in sorted(ids, key=lambda i: (-pieces[i][0], i))]
    vocabulary = {name: index for index, name in enumerate(names)}
    return sentencepiece_style(
        vocabulary, merges_of(ordered, ordered), bos=BOS, eos=EOS, unknown=UNKNOWN
    )


def convert(model: Path, tokenizer: Path, folder: Path) -> None:
    """Write a Hugging Face Llama checkpoint with its fast tokenizer to `folder`; the same bytes
    every time.
    """
    shape, tensors = read_weights(model)
    fast = read_tokenizer(tokenizer, shape.vocabulary)
    folder.mkdir(parents=True, exist_ok=True)
    config = llama_config(
        hidden_size=shape.dim,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocabulary,
        max_position_embeddings=shape.sequence,
        rope_theta=ROPE_THETA,
        tie_word_embeddings=shape.shared,
        bos_token_id=1,
        eos_token_id=2,
        rms_norm_eps=NORM_EPSILON,
    )
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2})
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settings = {
        "bos_token": BOS,
        "eos_token": EOS,
        "unk_token": UNKNOWN,
        "model_max_length": shape.sequence,
    }
    write_tokenizer(fast, folder, settings)
