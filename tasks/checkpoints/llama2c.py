"""Converts llama2.c's model and tokenizer files to a Hugging Face Llama.

The formats are those of github.com/karpathy/llama2.c (`run.c`, `export.py`), all little-endian:

- Model, version 0 ("legacy"): seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads,
  vocab_size, seq_len), then float32 tensors, each stacked over all layers. A negative vocab_size
  says that the output matrix is not shared with the embeddings.
- Tokenizer: int32 length of the longest token, then for each id float32 score, int32 length, bytes.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.fast_tokenizers import WHITESPACE, sentencepiece_style
from tasks.checkpoints.llama2c_header import HEADER_BYTES, Header, read_header
from tasks.checkpoints.merges import merges_of
from tasks.checkpoints.text_files import write_json
from tasks.checkpoints.tokenizer_files import write_tokenizer

if TYPE_CHECKING:
    import torch

UNKNOWN, BOS, EOS = "<unk>", "<s>", "</s>"
FIRST_PLAIN_ID = 259
"""Ids: three control tokens, 256 bytes, then pieces."""


def read_weights(path: Path) -> tuple[Header, dict[str, torch.Tensor]]:
    """The model's tensors in float32, by Hugging Face's names and in its order of rotary
    dimensions.
    """
    header = read_header(path)
    parts = _stacked_tensors(path, header)
    tensors = {"model.embed_tokens.weight": parts["embed"], "model.norm.weight": parts["norm"]}
    if not header.shared:
        tensors["lm_head.weight"] = parts["head"]
    for i in range(header.layers):
        layer = {
            "self_attn.q_proj": halves(parts["q"][i], header.heads),
            "self_attn.k_proj": halves(parts["k"][i], header.kv_heads),
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
    return header, tensors


def _stacked_shapes(header: Header) -> dict[str, tuple[int, ...]]:
    """The file's tensors in their order: those of layers have the layer as first dimension."""
    vocabulary, dim, hidden, layers = header.vocabulary, header.dim, header.hidden, header.layers
    kv = header.kv_heads * header.head
    shapes: dict[str, tuple[int, ...]] = {
        "embed": (vocabulary, dim),
        "attention_norm": (layers, dim),
        "q": (layers, dim, dim),
        "k": (layers, kv, dim),
        "v": (layers, kv, dim),
        "o": (layers, dim, dim),
        "mlp_norm": (layers, dim),
        "gate": (layers, hidden, dim),
        "down": (layers, dim, hidden),
        "up": (layers, hidden, dim),
        "norm": (dim,),
        "rotary": (2, header.sequence, header.head // 2),
    }
    if not header.shared:
        shapes["head"] = (vocabulary, dim)
    return shapes


def require_size(path: Path, header: Header) -> None:
    """`StageError` unless the file holds as many floats as its header calls for."""
    found = (path.stat().st_size - HEADER_BYTES) // 4
    needed = sum(math.prod(shape) for shape in _stacked_shapes(header).values())
    if found != needed:
        raise StageError(
            f"{path}: {found:,} floats after the header, which calls for {needed:,}; the "
            "file is truncated or altered: download it again"
        )


def _stacked_tensors(path: Path, header: Header) -> dict[str, torch.Tensor]:
    import torch

    require_size(path, header)
    values: NDArray[np.float32] = np.fromfile(path, dtype="<f4", offset=HEADER_BYTES)
    tensors, start = {}, 0
    for name, shape in _stacked_shapes(header).items():
        stop = start + math.prod(shape)
        tensors[name] = torch.from_numpy(values[start:stop].copy()).reshape(shape)
        start = stop
    return tensors


def halves(weight_HD: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder the rows of each head from rotary pairs to transformers' halves.

    llama2.c rotates rows (0, 1), (2, 3), ...; transformers rotates row i with row i + half. So rows
    0, 1, 2, 3 of a head of 4 become 0, 2, 1, 3.
    """
    rows, columns = weight_HD.shape
    return (
        weight_HD.view(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)
    )


def read_pieces(path: Path, count: int) -> list[tuple[float, bytes]]:
    """Score and bytes of `count` tokens; `StageError` if the file does not hold exactly these."""
    blob, offset = path.read_bytes(), 4
    pieces: list[tuple[float, bytes]] = []
    try:
        for _ in range(count):
            score, length = struct.unpack_from("<fi", blob, offset)
            start, stop = offset + 8, offset + 8 + length
            if length < 0 or stop > len(blob):
                raise StageError(
                    f"{path}: token {len(pieces)} claims {length} bytes at offset {offset}: the "
                    "file is not a llama2.c tokenizer, or is truncated"
                )
            pieces.append((score, blob[start:stop]))
            offset = stop
    except struct.error as error:
        raise StageError(
            f"{path} ends after {len(pieces)} of {count} tokens; it belongs to another model, or "
            "is truncated"
        ) from error
    if offset != len(blob):
        raise StageError(
            f"{path} has {len(blob) - offset} bytes after token {count}; it belongs to a model "
            "with more tokens"
        )
    return pieces


def read_tokenizer(path: Path, count: int) -> Tokenizer:
    """A fast tokenizer with llama2.c's BPE: best-scored pair first, byte fallback, dummy prefix."""
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


def convert(model: Path, tokenizer: Path, folder: Path, *, weights: bool = True) -> None:
    """Write a Hugging Face Llama checkpoint with its fast tokenizer to `folder`, reproducibly.

    Without `weights`, all but the weights, whose file is checked all the same.
    """
    header = read_header(model)
    require_size(model, header)
    fast = read_tokenizer(tokenizer, header.vocabulary)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", header.config())
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2})
    if weights:
        from safetensors.torch import save_file

        _, tensors = read_weights(model)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settings = {
        "bos_token": BOS,
        "eos_token": EOS,
        "unk_token": UNKNOWN,
        "model_max_length": header.sequence,
    }
    write_tokenizer(fast, folder, settings)
