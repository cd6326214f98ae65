"""Open a base given as a folder: a Hugging Face checkpoint, a llama2.c pair of files, or a bare tokenizer file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from infra.stage import Pin, StageError
from tasks.checkpoints import foreign_tokenizers, llama2c
from tasks.checkpoints.tokenizer_files import write_tokenizer


def folder_of(pins: Sequence[Pin]) -> Path:
    """The folder that a parameter named, from the pins of the files in it."""
    if not pins:
        raise StageError("the base folder has no files; name a folder with a checkpoint or tokenizer in it")
    return Path(os.path.commonpath([Path(pin.path).parent for pin in pins]))


def open_base(folder: Path, scratch: Path) -> Path:
    """A local Hugging Face folder for `folder`, which is returned as it is where it is one already.

    Accepted: `config.json` with safetensors; `tokenizer.json`; llama2.c's `<model>.bin` with `tok*.bin` or
    `tokenizer.bin`; a sentencepiece or Llama-3 `tokenizer.model`. Conversions are written below `scratch`.
    """
    if (folder / "tokenizer.json").is_file():
        return folder
    bins = sorted(folder.glob("*.bin"))
    tokenizers = [path for path in bins if path.name.startswith("tok")]
    models = [path for path in bins if path not in tokenizers and not path.name.startswith("pytorch_model")]
    target = scratch / "base"
    if len(tokenizers) == 1 and len(models) == 1:
        llama2c.convert(models[0], tokenizers[0], target)
        return target
    model_files = sorted(folder.glob("*.model"))
    if len(model_files) == 1 and not (folder / "config.json").is_file():
        tokenizer, settings = foreign_tokenizers.read_model_file(model_files[0])
        write_tokenizer(tokenizer, target, settings)
        return target
    raise StageError(
        f"{folder} is no base that can be opened: it needs tokenizer.json (a model also config.json and safetensors), "
        f"or one llama2.c model .bin with one tok*.bin, or one *.model; it has "
        f"{[path.name for path in sorted(folder.iterdir())][:12]}"
    )


def require_checkpoint(folder: Path) -> Path:
    """`folder`, when it holds a Hugging Face checkpoint in safetensors; `StageError` otherwise."""
    if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
        return folder
    raise StageError(
        f"{folder} holds no checkpoint: config.json and *.safetensors are needed (convert older formats first)"
    )
