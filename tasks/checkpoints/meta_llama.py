"""Converts Meta's own Llama checkpoints to Hugging Face's layout.

A folder of Meta's holds `params.json`, the weights in one or more `consolidated.NN.pth` (one a GPU
of the model-parallel group that it was trained on), mostly `checklist.chk` with their MD5 sums, and
`tokenizer.model`, which LLaMA-1's download keeps one folder up. The formats are those of
github.com/meta-llama/llama (`model.py`) and github.com/meta-llama/llama3.

A `.pth` is a pickle: it is read by torch's reader of plain tensors (`weights_only`), which runs no
code, and memory-mapped, so that one layer at a time is in memory.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.stage import StageError
from tasks.checkpoints.llama2c import halves
from tasks.checkpoints.llama_config import llama_config
from tasks.checkpoints.text_files import read_json, refuse_pointer, write_json
from tasks.checkpoints.weights import INDEX

if TYPE_CHECKING:
    import torch

PARAMETERS, CHECKLIST = "params.json", "checklist.chk"
_SHARD = re.compile(r"consolidated\.(\d{2,3})\.pth")
_MD5_BLOCK = 1 << 22


@dataclass(frozen=True)
class Shape:
    """What `params.json` says of a model; `positions` is what the model was trained on."""

    dim: int
    layers: int
    heads: int
    kv_heads: int
    norm_epsilon: float
    rope_theta: float
    vocabulary: int
    positions: int

    @property
    def head(self) -> int:
        """Dimensions of one attention head."""
        return self.dim // self.heads


def is_folder(folder: Path) -> bool:
    """Whether a folder is laid out as Meta's."""
    return (folder / PARAMETERS).is_file() and any(folder.glob("consolidated.*.pth"))


def read_shape(folder: Path, vocabulary: int) -> Shape:
    """The shape that `params.json` states; `vocabulary` is the tokenizer's.

    It does not state the positions. LLaMA-1 (2,048) and Llama-2 (4,096) differ in the epsilon of
    their norms, Llama-3 (8,192) is the one with a rope theta.
    """
    path = folder / PARAMETERS
    given = read_json(path)
    sizes = {}
    for name in ("dim", "n_layers", "n_heads"):
        value = given.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise StageError(f"{path}: {name} is {value!r}, not a size; download it again")
        sizes[name] = value
    kv_heads = given.get("n_kv_heads") or sizes["n_heads"]
    if sizes["dim"] % sizes["n_heads"] or sizes["n_heads"] % kv_heads:
        raise StageError(
            f"{path}: {sizes['n_heads']} heads (n_kv_heads {kv_heads}) do not divide dim "
            f"{sizes['dim']}; download it again"
        )
    if given.get("use_scaled_rope"):
        raise StageError(
            f"{path} says use_scaled_rope (Llama-3.1 and later), whose factor it does not state; "
            "give the Hugging Face folder of this model"
        )
    if (stated := given.get("vocab_size", -1)) not in (-1, vocabulary):
        raise StageError(
            f"{path} states a vocabulary of {stated:,}, its tokenizer.model has {vocabulary:,}: "
            "one of them belongs to another model"
        )
    epsilon, theta = float(given.get("norm_eps", 1e-5)), float(given.get("rope_theta", 10_000.0))
    positions = 8_192 if "rope_theta" in given else 2_048 if epsilon < 1e-5 else 4_096
    return Shape(
        sizes["dim"], sizes["n_layers"], sizes["n_heads"], kv_heads, epsilon, theta, vocabulary,
        positions,
    )  # fmt: skip


def shards_of(folder: Path) -> list[Path]:
    """The files with weights in their order; `StageError` if one is absent, empty or cut short."""
    found = {}
    for path in folder.glob("consolidated.*.pth"):
        if matched := _SHARD.fullmatch(path.name):
            found[int(matched[1])] = path
    absent = sorted(set(range(max(found, default=0) + 1)) - set(found))
    if absent:
        raise StageError(
            f"{folder} has {len(found)} consolidated.*.pth, but not number {absent[0]:02d}: the "
            "download is not complete"
        )
    listed = {name for name in _checksums(folder) if _SHARD.fullmatch(name)}
    if lost := sorted(listed - {path.name for path in found.values()}):
        raise StageError(
            f"{folder} lacks {lost[0]}, which {CHECKLIST} lists: the download is not complete"
        )
    for path in found.values():
        refuse_pointer(path)
        if not zipfile.is_zipfile(path):
            raise StageError(
                f"{path} ({path.stat().st_size:,} bytes) is not a complete file of torch; "
                "download it again"
            )
    return [found[number] for number in sorted(found)]


def _checksums(folder: Path) -> dict[str, str]:
    """MD5 sums by file name, as `md5sum` writes them; none where there is no checklist."""
    path = folder / CHECKLIST
    if not path.is_file():
        return {}
    lines = [line.split() for line in path.read_text("utf-8", "replace").splitlines()]
    return {line[1].lstrip("*"): line[0].lower() for line in lines if len(line) == 2}


def require_checksums(folder: Path) -> None:
    """`StageError` for a file whose content is not what the checklist says, where there is one."""
    for name, expected in sorted(_checksums(folder).items()):
        path = folder / name
        if not path.is_file():
            continue
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as stream:
            while block := stream.read(_MD5_BLOCK):
                digest.update(block)
        if digest.hexdigest() != expected:
            raise StageError(
                f"{path} has the MD5 sum {digest.hexdigest()}, but {CHECKLIST} says {expected}: it "
                "is damaged, or of another model; download it again"
            )


def convert(
    folder: Path,
    target: Path,
    vocabulary: int,
    ids: Mapping[str, int | None],
    *,
    weights: bool = True,
) -> None:
    """Write `config.json` and the weights of a folder of Meta's to `target`, reproducibly.

    `vocabulary`, `ids`: of its tokenizer, the latter of BOS and EOS. Without `weights`, only the
    shapes of these are looked at.
    """
    shape, paths = read_shape(folder, vocabulary), shards_of(folder)
    _require_agreement(paths, shape)
    if not weights:
        return
    require_checksums(folder)
    hidden, dtype = _write_weights(paths, shape, target)
    write_json(target / "config.json", config_of(shape, hidden, ids, dtype))


def config_of(
    shape: Shape, hidden: int, ids: Mapping[str, int | None], dtype: str
) -> dict[str, Any]:
    """The model's config.json; `hidden` is the width of its MLPs."""
    return llama_config(
        hidden_size=shape.dim,
        intermediate_size=hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocabulary,
        max_position_embeddings=shape.positions,
        rope_theta=shape.rope_theta,
        tie_word_embeddings=False,
        bos_token_id=ids.get("bos_token"),
        eos_token_id=ids.get("eos_token"),
        rms_norm_eps=shape.norm_epsilon,
        dtype=dtype,
    )


def stated_hidden(folder: Path) -> int:
    """The width of the MLPs as Meta's `model.py` computes it of params.json: two thirds of four
    times dim, times a multiplier, rounded up.
    """
    given = read_json(folder / PARAMETERS)
    hidden = int(2 * 4 * int(given["dim"]) / 3)
    hidden = int((given.get("ffn_dim_multiplier") or 1) * hidden)
    multiple = int(given.get("multiple_of") or 256)
    return -(-hidden // multiple) * multiple


_GATE, _NORM = "layers.0.feed_forward.w1.weight", "norm.weight"
_NO_WEIGHTS = "rope.freqs"


def _require_agreement(paths: Sequence[Path], shape: Shape) -> None:
    """`StageError` for shards that do not have exactly the tensors that params.json calls for."""
    shards = [{name: tensor.to("meta") for name, tensor in _opened(path).items()} for path in paths]
    _require_same_names(paths, shards)
    for name in (_GATE, _NORM):
        _require(paths, shards, name)
    known, hidden = {_NO_WEIGHTS}, sum(shard[_GATE].shape[0] for shard in shards)
    if hidden != (stated := stated_hidden(paths[0].parent)):
        raise StageError(
            f"the MLPs of {len(paths)} consolidated.*.pth are {hidden:,} wide, but {PARAMETERS} "
            f"(multiple_of, ffn_dim_multiplier) calls for {stated:,}: a shard is absent, or they "
            "are of two models"
        )
    for part in _parts(shape, hidden):
        for theirs, axis, rows, columns, _ in part.values():
            _joined(paths, shards, theirs, axis, (rows, columns))
            known.add(theirs)
    if unknown := sorted(set(shards[0]) - known):
        raise StageError(
            f"{paths[0]} has {unknown[0]}, which {PARAMETERS} has no place for: they are of two "
            "models"
        )


def _write_weights(paths: Sequence[Path], shape: Shape, target: Path) -> tuple[int, str]:
    """Write a file a layer and an index; returns (hidden size of the feed-forward, dtype)."""
    from safetensors.torch import save_file

    shards = [_opened(path) for path in paths]
    hidden = sum(shard[_GATE].shape[0] for shard in shards)
    dtype = str(shards[0][_NORM].dtype).removeprefix("torch.")
    files, total = [*_parts(shape, hidden)], 0
    index = {}
    for number, part in enumerate(files, 1):
        name = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        tensors = {}
        for ours, (theirs, axis, rows, columns, heads) in part.items():
            tensor = _joined(paths, shards, theirs, axis, (rows, columns))
            tensors[ours] = halves(tensor, heads).contiguous() if heads else tensor
            index[ours] = name
            total += tensor.numel() * tensor.element_size()
        save_file(tensors, target / name, metadata={"format": "pt"})
    write_json(target / INDEX, {"metadata": {"total_size": total}, "weight_map": index})
    return hidden, dtype


_Place = tuple[str, int, int, int, int]
"""Meta's name of a tensor, the axis along which shards split it (-1: all hold it), its rows and
columns (0: it has one dimension), and its attention heads if its rows are rotary pairs (else 0).
"""


def _parts(shape: Shape, hidden: int) -> Iterator[dict[str, _Place]]:
    """Tensors by Hugging Face's names, as they are written to one file each."""
    dim, kv = shape.dim, shape.kv_heads * shape.head
    for at in range(shape.layers):
        ours, theirs = f"model.layers.{at}", f"layers.{at}"
        yield {
            f"{ours}.self_attn.q_proj.weight": (
                f"{theirs}.attention.wq.weight", 0, dim, dim, shape.heads),
            f"{ours}.self_attn.k_proj.weight": (
                f"{theirs}.attention.wk.weight", 0, kv, dim, shape.kv_heads),
            f"{ours}.self_attn.v_proj.weight": (f"{theirs}.attention.wv.weight", 0, kv, dim, 0),
            f"{ours}.self_attn.o_proj.weight": (f"{theirs}.attention.wo.weight", 1, dim, dim, 0),
            f"{ours}.mlp.gate_proj.weight": (f"{theirs}.feed_forward.w1.weight", 0, hidden, dim, 0),
            f"{ours}.mlp.down_proj.weight": (f"{theirs}.feed_forward.w2.weight", 1, dim, hidden, 0),
            f"{ours}.mlp.up_proj.weight": (f"{theirs}.feed_forward.w3.weight", 0, hidden, dim, 0),
            f"{ours}.input_layernorm.weight": (f"{theirs}.attention_norm.weight", -1, dim, 0, 0),
            f"{ours}.post_attention_layernorm.weight": (f"{theirs}.ffn_norm.weight", -1, dim, 0, 0),
        }  # fmt: skip
    yield {
        # LLaMA-1 and Llama-2 split the columns of the embeddings, Llama-3 its rows
        "model.embed_tokens.weight": ("tok_embeddings.weight", 1, shape.vocabulary, dim, 0),
        "model.norm.weight": ("norm.weight", -1, dim, 0, 0),
        "lm_head.weight": ("output.weight", 0, shape.vocabulary, dim, 0),
    }


def _opened(path: Path) -> Mapping[str, torch.Tensor]:
    """The tensors of a shard, memory-mapped."""
    import torch

    try:
        found: Any = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise StageError(
            f"{path} is not a file of plain tensors ({str(error).splitlines()[0][:120]}); it is "
            "not read, because a pickle can run code. Download it again"
        ) from error
    if not isinstance(found, dict) or not all(torch.is_tensor(each) for each in found.values()):
        raise StageError(f"{path} holds no tensors by name; it is not a checkpoint of Meta's")
    return found


def _require_same_names(paths: Sequence[Path], shards: Sequence[Mapping[str, Any]]) -> None:
    for path, shard in zip(paths[1:], shards[1:], strict=True):
        if odd := sorted(set(shard) ^ set(shards[0])):
            raise StageError(
                f"{path.name} and {paths[0].name} do not hold the same tensors ({odd[0]} is in one "
                "of them only): they are of two models"
            )


def _require(paths: Sequence[Path], shards: Sequence[Mapping[str, Any]], name: str) -> None:
    if name not in shards[0]:
        raise StageError(
            f"{paths[0]} lacks {name}, which {PARAMETERS} calls for: they are of two models"
        )


def _joined(
    paths: Sequence[Path],
    shards: Sequence[Mapping[str, torch.Tensor]],
    name: str,
    axis: int,
    sizes: tuple[int, int],
) -> torch.Tensor:
    """A tensor of all shards; `StageError` unless it has the rows and columns (if any) wanted."""
    import torch

    _require(paths, shards, name)
    parts = [shard[name] for shard in shards]
    expected = tuple(size for size in sizes if size)
    if axis < 0:
        joined = parts[0].clone()
    else:
        if name.startswith("tok_embeddings") and parts[0].shape[-1] == expected[-1]:
            axis = 0
        try:
            joined = torch.cat(list(parts), dim=axis)
        except RuntimeError as error:
            raise StageError(
                f"{name} has other shapes in the {len(paths)} shards of {paths[0].parent}: they "
                "are of two models"
            ) from error
    if tuple(joined.shape) != expected:
        raise StageError(
            f"{name} has the shape {tuple(joined.shape)} in {len(paths)} consolidated.*.pth, but "
            f"{PARAMETERS} calls for {expected}: a shard is absent, or they are of two models"
        )
    return joined
