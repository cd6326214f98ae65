"""Small bases for surgery: checkpoints with padding, of several types, in one or more files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from infra.context import Context
from infra.stage import Outcome, Parameters, Stage
from infra.store import Artifact
from infra.store.attempt import Shard
from tasks.checkpoints.base import open_base
from tasks.checkpoints.llama_config import llama_config
from tasks.checkpoints.text_files import write_json
from tasks.checkpoints.weights import INDEX, SINGLE
from tasks.model.create import new_tensors
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tasks.tokenizer.stage import TokenizerParameters
from tests.stage_harness import run_stage
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH, select, write_llama2c

SIZE = 380
"""Tokens of the grown tokenizer; the base has about 310."""


def base(
    folder: Path, *, tied: bool = True, layers: int = 2, dtype: str = "float32", pad: int = 0
) -> Path:
    """A random checkpoint with a small llama2.c tokenizer, and `pad` rows that belong to no
    token.
    """
    opened = open_base(write_llama2c(folder / "source", shared=tied), folder)
    config = json.loads((opened / "config.json").read_text())
    made = llama_config(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=config["vocab_size"] + pad,
        max_position_embeddings=64,
        rope_theta=10_000.0,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.3,
        dtype=dtype,
    )
    write_json(opened / "config.json", made)
    save_file(new_tensors(made, seed=3), opened / SINGLE, metadata={"format": "pt"})
    return opened


def split(folder: Path) -> None:
    """Split a checkpoint's single file into two with an index."""
    tensors = load_file(folder / SINGLE)
    (folder / SINGLE).unlink()
    ordered = sorted(tensors)
    parts = {
        "model-00001-of-00002.safetensors": ordered[::2],
        "model-00002-of-00002.safetensors": ordered[1::2],
    }
    for file, names in parts.items():
        save_file({name: tensors[name] for name in names}, folder / file, metadata={"format": "pt"})
    weights = {name: file for file, names in parts.items() for name in names}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weights}))


def change_config(folder: Path, **values: Any) -> None:
    """Set keys of config.json; None removes one."""
    config = json.loads((folder / "config.json").read_text()) | values
    write_json(
        folder / "config.json", {key: value for key, value in config.items() if value is not None}
    )


def change_tensors(folder: Path, **changes: torch.Tensor | None) -> None:
    """Set tensors by the end of their name, with "__" for "."; None removes a tensor."""
    tensors = load_file(folder / SINGLE)
    for end, value in changes.items():
        end = end.replace("__", ".")
        name = next((name for name in tensors if name.endswith(end)), end)
        tensors.pop(name, None)
        if value is not None:
            tensors[name] = value
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})


def grown_tokenizer(base: Path, tmp_path: Path) -> Artifact:
    """The tokenizer artifact of a base grown to `SIZE` on Chinese and English."""
    return run_stage(
        TOKENIZER,
        TokenizerParameters(base=str(base), expand={"size": SIZE}),
        {"select": texts(tmp_path)},
        tmp_path=tmp_path,
    )


def kept_tokenizer(base: Path, tmp_path: Path) -> Artifact:
    """The base's own tokenizer as an artifact."""
    return run_stage(
        TOKENIZER, TokenizerParameters(base=str(base)), {}, name="kept", tmp_path=tmp_path
    )


class AddedParameters(Parameters):
    """A base's folder, and the number of tokens to add."""

    base: str
    count: int


ADDED = Stage(
    "tokenizer",
    1,
    AddedParameters,
    "tests.tasks.model.bases:add_tokens",
    "a tokenizer with added tokens",
)


def add_tokens(context: Context) -> Outcome:
    """Stage function of `ADDED`: token n has 1 to 3 of the base's ids: n + 260, n + 261, ..."""
    context.map(_add_tokens, {"tokenizer": context.parameters})
    return Outcome()


def _add_tokens(parameters: AddedParameters, shard: Shard) -> dict[str, Any]:
    folder = Path(parameters.base)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    old = max(tokenizer.get_vocab().values()) + 1
    names = [f"new-{number}-" for number in range(parameters.count)]
    tokenizer.add_tokens(names)
    rows = [
        {
            "id": old + n,
            "token": name,
            "text": name,
            "base_ids": [260 + (n + offset) % 40 for offset in range(1 + n % 3)],
        }
        for n, name in enumerate(names)
    ]
    with shard.create("tokenizer/tokenizer.json") as path:
        tokenizer.save(str(path))
    with shard.create("tokenizer/tokenizer_config.json") as path:
        path.write_text((folder / "tokenizer_config.json").read_text())
    with shard.create("new_tokens.json") as path:
        path.write_text(json.dumps(rows))
    return {}


def added_tokenizer(base: Path, count: int, tmp_path: Path) -> Artifact:
    """A tokenizer artifact with exactly `count` tokens more than the base."""
    return run_stage(
        ADDED, AddedParameters(base=str(base), count=count), name="added", tmp_path=tmp_path
    )


def texts(tmp_path: Path) -> Artifact:
    """A select artifact with training texts, and a held-out text that must not be read."""
    files = {
        "web-zh/part-00000.jsonl": CHINESE + ENGLISH,
        "heldout/web-zh/part-00000.jsonl": ["HELD OUT"],
    }
    return select(files, tmp_path)
