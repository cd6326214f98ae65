"""Open a base folder: a Hugging Face checkpoint, llama2.c's pair of files, or a tokenizer file."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from infra.io.files import files_in
from infra.stage import Pin, StageError
from tasks.checkpoints import foreign_tokenizers, llama2c
from tasks.checkpoints.sentencepiece_model import SentencePieceModel, is_model, read_model
from tasks.checkpoints.tokenizer_files import (
    read_added_tokens,
    read_tokenizer,
    with_added_tokens,
    write_tokenizer,
)
from tasks.checkpoints.tokenizer_settings import read_settings

MODEL_FILE = "tokenizer.model"
"""sentencepiece's file in a Hugging Face folder (Llama-3's rank file has the same name)."""

_CHECKPOINT_FILES = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.index.json",
    "pytorch_model*.bin",
)


_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")


def folder_of(pins: Sequence[Pin]) -> Path:
    """The folder that a parameter names, from the pins of the files in it.

    `StageError` where it holds files that are not pinned: they would be read, but would not be part
    of the version.
    """
    if not pins:
        raise StageError(
            "the base folder has no files; name a folder with a checkpoint or tokenizer in it"
        )
    folder = Path(os.path.commonpath([Path(pin.path).parent for pin in pins]))
    pinned = {Path(pin.path) for pin in pins}
    if others := [path for path in files_in(folder) if path not in pinned]:
        raise StageError(
            f"a base is a folder, and its version holds all its files; of {folder} {len(pinned)} "
            f"are pinned and {len(others)} are not "
            f"({', '.join(path.name for path in others[:3])}). Name the folder itself; if you did, "
            "it has changed since the plan: run again"
        )
    return folder


def _refuse_adapter(folder: Path) -> None:
    if not (found := [name for name in _ADAPTER_FILES if (folder / name).is_file()]):
        return
    weights = [
        path.name
        for path in sorted(folder.glob("*.safetensors"))
        if path.name not in _ADAPTER_FILES
    ]
    if weights:
        raise StageError(
            f"{folder} holds full weights ({weights[0]}) and an adapter ({found[0]}), and the base "
            "could be meant with or without it. Merge it (peft: `merge_and_unload()`, then "
            "`save_pretrained`) and name that folder, or move the adapter's files to another folder"
        )
    raise StageError(
        f"{folder} holds an adapter only ({found[0]}), which is no base. Merge it into its model "
        "first (peft: `merge_and_unload()`, then `save_pretrained`) and name the merged folder"
    )


def open_base(folder: Path, scratch: Path) -> Path:
    """A local Hugging Face folder for `folder`; returned unchanged where it is one already.

    Accepted: `config.json` with safetensors; `tokenizer.json`; llama2.c's `<model>.bin` with
    `tok*.bin` or `tokenizer.bin`; a sentencepiece or Llama-3 `tokenizer.model`, alone or with a
    checkpoint. Conversions are written below `scratch`; weights are linked, not copied.
    """
    if not folder.is_dir():
        raise StageError(
            f"{folder} is no folder; name the folder of a base, or an artifact that holds a "
            "checkpoint (stages model and training; for a tokenizer's base, stage tokenizer as "
            "well)"
        )
    _refuse_adapter(folder)
    if (folder / "tokenizer.json").is_file():
        return folder
    bins = sorted(folder.glob("*.bin"))
    tokenizers = [path for path in bins if path.name.startswith("tok")]
    models = [
        path
        for path in bins
        if path not in tokenizers and not path.name.startswith("pytorch_model")
    ]
    target = scratch / "base"
    if len(tokenizers) == 1 and len(models) == 1:
        llama2c.convert(models[0], tokenizers[0], target)
        return target
    model_files = sorted(folder.glob("*.model"))
    if len(model_files) == 1:
        tokenizer, settings = foreign_tokenizers.read_model_file(model_files[0])
        tokenizer = with_added_tokens(tokenizer, read_added_tokens(folder))
        write_tokenizer(tokenizer, target, {**settings, **read_settings(folder)})
        if is_model(model_files[0]):
            shutil.copyfile(model_files[0], target / MODEL_FILE)
        for pattern in _CHECKPOINT_FILES:
            for file in folder.glob(pattern):
                (target / file.name).unlink(missing_ok=True)
                (target / file.name).symlink_to(file.resolve())
        return target
    raise StageError(
        f"{folder} is no base that can be opened: it needs tokenizer.json or one *.model (a model "
        "also config.json and safetensors), or one llama2.c model .bin with one tok*.bin; it has "
        f"{[path.name for path in sorted(folder.iterdir())][:12]}"
    )


@contextlib.contextmanager
def naming(given: Path, opened: Path) -> Iterator[None]:
    """Errors inside name the folder that was given, where they would name what `open_base` made of
    it.
    """
    try:
        yield
    except StageError as error:
        if given == opened or str(opened) not in str(error):
            raise
        raise type(error)(str(error).replace(str(opened), str(given))) from error


@dataclass(frozen=True)
class BaseTokenizer:
    """A base's tokenizer, its sentencepiece model if any, and which parts were `corrected`."""

    tokenizer: Tokenizer
    model: SentencePieceModel | None = None
    corrected: tuple[str, ...] = ()


def read_base_tokenizer(folder: Path) -> BaseTokenizer:
    """The tokenizer of an opened base; where it has a sentencepiece file, that file decides.

    transformers 5 ranks merges by id when it converts a `.model`, so its `tokenizer.json` segments
    code and indentation differently from what the base was trained with. Where the two disagree,
    merges and treatment of spaces are taken from the `.model`; added tokens, their ids and the
    template around texts are kept.
    """
    tokenizer = read_tokenizer(folder)
    path = folder / MODEL_FILE
    if not path.is_file() or foreign_tokenizers.is_rank_file(path):
        return BaseTokenizer(tokenizer)
    model = read_model(path)
    try:
        reference, _ = foreign_tokenizers.read_sentencepiece(path)
    except StageError:
        return BaseTokenizer(tokenizer, model)
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    moved = [
        piece.text
        for index, piece in enumerate(model.pieces)
        if vocabulary.get(piece.text) != index
    ]
    if moved:
        raise StageError(
            f"{folder}: tokenizer.json and {MODEL_FILE} disagree on the ids of {len(moved):,} of "
            f"{len(model.pieces):,} pieces (e.g. {moved[0]!r}); take away the one that does not "
            "belong to the weights"
        )
    found, wanted = json.loads(tokenizer.to_str()), json.loads(reference.to_str())
    corrected = []
    if not _same_ranking(found, wanted):
        found["model"] |= {"merges": wanted["model"]["merges"], "ignore_merges": False}
        corrected.append("merges")
    if _probed(Tokenizer.from_str(json.dumps(found))) != _probed(reference):
        found |= {key: wanted[key] for key in ("normalizer", "pre_tokenizer", "decoder")}
        corrected.append("spaces")
    return BaseTokenizer(
        Tokenizer.from_str(json.dumps(found)) if corrected else tokenizer, model, tuple(corrected)
    )


def _same_ranking(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether two BPEs join towards the same pieces in the same order, and reach the same of them.

    Which splits of a piece are listed makes no difference then: text that becomes a piece is joined
    inside as the piece alone is, so only one of its splits ever comes up.
    """
    results = [
        list(dict.fromkeys(left + right for left, right in _merges(state)))
        for state in (found, wanted)
    ]
    if results[0] != results[1]:
        return False
    first, second = (Tokenizer.from_str(json.dumps(state)).model for state in (found, wanted))
    return all(
        [token.id for token in first.tokenize(piece)]
        == [token.id for token in second.tokenize(piece)]
        for piece in results[0]
    )


def _merges(state: dict[str, Any]) -> list[list[str]]:
    return [
        merge.split(" ") if isinstance(merge, str) else list(merge)
        for merge in state["model"]["merges"]
    ]


_PROBES = (
    "a",
    " a",
    "  a  b ",
    "\n  a",
    "\t a\n\n",
    "        x = 1",
    "\u4e2d \u56fd",
    "<s> a",
    "\u2581a",
    "1 2  345",
)


def _probed(tokenizer: Tokenizer) -> list[list[int]]:
    tokenizer.encode_special_tokens = True
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in _PROBES]
    tokenizer.encode_special_tokens = False
    return ids
