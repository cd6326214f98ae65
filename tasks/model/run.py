"""Runs stage model: writes `checkpoint/`, a Hugging Face checkpoint with its tokenizer.

It changes a base (`surgery`) or creates a new model here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.context import Context
from infra.stage import Outcome
from infra.store.attempt import Shard
from tasks.checkpoints.base import folder_of, naming, open_base
from tasks.checkpoints.llama_config import llama_config
from tasks.checkpoints.tokenizer_files import read_tokenizer, size_of
from tasks.checkpoints.tokenizer_settings import read_settings
from tasks.checkpoints.weights import SINGLE
from tasks.model.embeddings import padded
from tasks.model.settings import CHECKPOINT, publish_settings
from tasks.model.stage import Create, ModelParameters
from tasks.model.surgery import operate


def run(context: Context) -> Outcome:
    """Create a model, or modify a base model."""
    parameters: ModelParameters = context.parameters
    artifact = context.input("tokenizer")
    tokenizer = artifact.folder("tokenizer")
    if parameters.create is not None:
        return Outcome(statistics=_create(context, parameters, parameters.create, tokenizer))
    if context.optional("base"):
        base_folder = context.input("base").folder(CHECKPOINT)
    else:
        base_folder = context.folder("base", folder_of)
    base = open_base(base_folder, context.scratch())
    if base != base_folder:  # converted here
        base = context.exchange.child("base").shared(base)
    new_tokens = json.loads(artifact.path("new_tokens.json").read_text(encoding="utf-8"))
    with naming(base_folder, base):
        return Outcome(statistics=operate(context, parameters, base, tokenizer, new_tokens))


@dataclass(frozen=True)
class CreateWork:
    """Input of the shard that creates a model."""

    config: dict[str, Any]
    seed: int
    tokenizer: Path


def _create(
    context: Context, parameters: ModelParameters, create: Create, tokenizer: Path
) -> dict[str, Any]:
    fast = read_tokenizer(tokenizer)
    settings = read_settings(tokenizer)
    size = size_of(fast)
    config = llama_config(
        **create.model_dump(exclude={"seed"}),
        vocab_size=padded(size, parameters.pad_to_multiple_of),
        bos_token_id=fast.token_to_id(settings["bos_token"]) if "bos_token" in settings else None,
        eos_token_id=fast.token_to_id(settings["eos_token"]) if "eos_token" in settings else None,
    )
    work = CreateWork(config, create.seed, tokenizer)
    statistics = context.map(create_model, {SINGLE: work})[SINGLE]
    return {
        **statistics,
        "tokenizer_size": size,
        "matrix_rows": config["vocab_size"],
        "rows_added": config["vocab_size"],
    }


def create_model(work: CreateWork, shard: Shard) -> dict[str, Any]:
    """Write a new model with its configuration and tokenizer; returns its number of parameters."""
    from safetensors.torch import save_file

    from tasks.model.create import new_tensors

    tensors = new_tensors(work.config, work.seed)
    with shard.create(f"{CHECKPOINT}/{SINGLE}") as path:
        save_file(tensors, path, metadata={"format": "pt"})
    generation = {
        key: work.config[key]
        for key in ("bos_token_id", "eos_token_id")
        if work.config[key] is not None
    }
    publish_settings(shard, work.config, generation, work.tokenizer)
    return {"parameters": sum(tensor.numel() for tensor in tensors.values())}
