"""Read and write a safetensors checkpoint one file at a time: peak memory is about one file and the matrix it holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from infra.stage import StageError
from tasks.model.embeddings import Growth, grow, norms

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
INPUT = "embed_tokens.weight"
OUTPUT = "lm_head.weight"


@dataclass(frozen=True)
class Layout:
    """Where a checkpoint's tensors lie, and which are the embeddings."""

    folder: str
    files: tuple[str, ...]
    tied: bool
    rows: int

    @classmethod
    def read(cls, folder: Path) -> Layout:
        """`StageError` when config and tensors disagree, or when the matrices are not where a Llama has them."""
        config = json.loads((folder / "config.json").read_text())
        tied = bool(config.get("tie_word_embeddings", False))
        if (folder / INDEX).is_file():
            files = sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))
        else:
            files = [SINGLE]
        absent = [name for name in files if not (folder / name).is_file()]
        if absent:
            raise StageError(f"{folder} lacks {absent[0]}: the download is not complete")
        shapes: dict[str, tuple[int, ...]] = {}
        for name in files:
            with safe_open(folder / name, framework="pt") as tensors:
                shapes |= {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118
        inputs = [key for key in shapes if key.endswith(INPUT)]
        outputs = [key for key in shapes if key.endswith(OUTPUT)]
        if len(inputs) != 1 or len(outputs) > 1 or (not outputs and not tied):
            raise StageError(
                f"{folder} has input matrices {inputs} and output matrices {outputs} with tie_word_embeddings {tied}; "
                f"one *{INPUT} and, when not tied, one *{OUTPUT} are needed"
            )
        wrong = {key: shapes[key][0] for key in (*inputs, *outputs) if shapes[key][0] != config["vocab_size"]}
        if wrong:
            raise StageError(
                f"{folder}: config.json says vocab_size {config['vocab_size']}, the matrices have {wrong} rows"
            )
        return cls(str(folder), tuple(files), tied, int(config["vocab_size"]))


def grow_file(layout: Layout, name: str, growth: Growth, target: Path) -> dict[str, Any]:
    """Copy one file of a checkpoint with its embedding matrices grown; what was written and measured."""
    tensors, measured = {}, {}
    with safe_open(Path(layout.folder) / name, framework="pt") as source:
        for key in sorted(source.keys()):
            if layout.tied and key.endswith(OUTPUT):
                continue
            tensor = source.get_tensor(key)
            if key.endswith((INPUT, OUTPUT)):
                tensor = grow(tensor, growth)
                measured["input" if key.endswith(INPUT) else "output"] = norms(tensor, growth)
            tensors[key] = tensor.contiguous()
    save_file(tensors, target, metadata={"format": "pt"})
    return {
        "tensors": sorted(tensors),
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
        "norms": measured,
    }
