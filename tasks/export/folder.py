"""A model as a folder that transformers and vLLM load: a checkpoint's files, checked and copied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from infra.stage import StageError
from tasks.checkpoints.text_files import read_json
from tasks.checkpoints.tokenizer_files import read_tokenizer, size_of

INDEX = "model.safetensors.index.json"


def write_folder(
    checkpoint: Path, target: Path, complete: Callable[[Path], None] = lambda folder: None
) -> dict[str, Any]:
    """Copy a checkpoint to the new folder `target`; returns what it holds.

    The folder appears complete or not at all: it is copied elsewhere beside it first.

    Args:
        complete: called with the copy, whose name is `target`'s, before that takes its place.

    Raises:
        StageError: `target` exists, or the checkpoint's parts do not fit together.
    """
    if target.exists():
        raise StageError(f"{target} exists; name a folder that does not, or remove it first")
    facts = check_parts(checkpoint)
    building = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(building, ignore_errors=True)
    try:
        copy = shutil.copytree(checkpoint, building / target.name)
        complete(copy)
        copy.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return facts


def check_parts(checkpoint: Path) -> dict[str, Any]:
    """Facts about a checkpoint: architecture, rows of its matrices, tokens of its tokenizer, bytes.

    vLLM and llama.cpp take the number of rows from the configuration, and abort in the middle of
    loading where the weights differ.

    Raises:
        StageError: a part is missing, or configuration, weights and tokenizer contradict each
            other.
    """
    config = read_json(checkpoint / "config.json")
    shapes = _shapes(checkpoint)
    if not isinstance(rows := config.get("vocab_size"), int):
        raise StageError(f"config.json in {checkpoint} has no vocab_size; build the model again")
    for name, shape in shapes.items():
        if name.endswith(("embed_tokens.weight", "lm_head.weight")) and shape[0] != rows:
            raise StageError(
                f"{name} in {checkpoint} has {shape[0]:,} rows, but config.json says vocab_size "
                f"{rows:,}; build the model again with --force"
            )
    tokens = size_of(read_tokenizer(checkpoint))
    if tokens > rows:
        raise StageError(
            f"the tokenizer in {checkpoint} has {tokens:,} tokens, but the model only {rows:,} "
            "rows; build the model again with --force"
        )
    files = [file for file in checkpoint.iterdir() if file.is_file()]
    return {
        "architecture": (config.get("architectures") or ["unknown"])[0],
        "rows": rows,
        "tokens": tokens,
        "tensors": len(shapes),
        "bytes": sum(file.stat().st_size for file in files),
    }


def _shapes(checkpoint: Path) -> Mapping[str, tuple[int, ...]]:
    files = sorted(checkpoint.glob("*.safetensors"))
    if not files:
        raise StageError(f"{checkpoint} holds no *.safetensors: it is not a model's checkpoint")
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        with safe_open(file, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118  (not a mapping)
                shapes[name] = tuple(tensors.get_slice(name).get_shape())
    index = checkpoint / INDEX
    listed = set(read_json(index)["weight_map"]) if index.exists() else set(shapes)
    if missing := sorted(listed - set(shapes)):
        raise StageError(
            f"{INDEX} in {checkpoint} lists {missing[0]}, which no file holds; build the model "
            "again with --force"
        )
    return shapes
