"""Artifacts that binning reads, made from text: selected JSONL and a small byte-level tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from infra.context import Context
from infra.stage import Outcome, Parameters, Stage
from infra.store import Artifact, Shard
from tests.stage_harness import run_stage

WORDS = (
    "pasture",
    "grazing",
    "llama",
    "wool",
    "altitude",
    "river",
    "stone",
    "grass",
    "wind",
    "herd",
    "草原",
    "羊驼",
    "高山",
)
SPECIALS = ["<unk>", "<s>", "</s>"]


class FilesParameters(Parameters):
    """Names and contents of the files to write."""

    files: dict[str, str]


def write_files(context: Context) -> Outcome:
    """Write the files."""
    context.map(_write, {"files": context.parameters.files}, here=True)
    return Outcome({})


def _write(files: dict[str, str], shard: Shard) -> dict[str, Any]:
    for name, content in files.items():
        with shard.create(name) as path:
            path.write_text(content)
    return {}


def artifact(kind: str, name: str, files: dict[str, str], tmp_path: Path) -> Artifact:
    """An artifact of a stage `kind` with these files."""
    stage = Stage(
        kind, 1, FilesParameters, "tests.tasks.binning.inputs:write_files", "writes files"
    )
    return run_stage(stage, FilesParameters(files=files), name=name, tmp_path=tmp_path)


def train(texts: Sequence[str], size: int = 400) -> Tokenizer:
    """A byte-level BPE tokenizer with <s> and </s>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def tokenizer_files(tokenizer: Tokenizer, **config: Any) -> dict[str, str]:
    """The files of a tokenizer artifact."""
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, **config}
    return {
        "tokenizer/tokenizer.json": tokenizer.to_str(),
        "tokenizer/tokenizer_config.json": json.dumps(config),
    }


def line(number: int, text: str, prompt: str = "", language: str = "en") -> str:
    """One line as select writes it."""
    row = {
        "source": prompt,
        "target": text,
        "category": "web",
        "id": f"{number:032x}",
        "language": language,
    }
    return json.dumps(row, ensure_ascii=False) + "\n"
