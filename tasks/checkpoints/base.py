"""Opens a base folder: a Hugging Face checkpoint, Meta's own, a llama2.c model with its tokenizer,
or a tokenizer file.
"""

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
from tasks.checkpoints import foreign_tokenizers, llama2c, meta_llama
from tasks.checkpoints.llama2c_header import files_of
from tasks.checkpoints.ranks import is_rank_file
from tasks.checkpoints.sentencepiece_model import SentencePieceModel, is_model, read_model
from tasks.checkpoints.tokenizer_files import (
    read_added_tokens,
    read_tokenizer,
    with_added_tokens,
    write_tokenizer,
)
from tasks.checkpoints.tokenizer_settings import read_settings

MODEL_FILE = "tokenizer.model"
"""Name of sentencepiece's file in a Hugging Face folder (and of Llama-3's rank file)."""

_CHECKPOINT_FILES = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.index.json",
    "pytorch_model*.bin",
)

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")


def folder_of(pins: Sequence[Pin]) -> Path:
    """The folder that a parameter names, found from the pins of its files.

    `StageError` if it holds files that are not pinned: these would be read without being part of
    the version.
    """
    if not pins:
        raise StageError("the base folder is empty; name a folder with a checkpoint or a tokenizer")
    folder = Path(os.path.commonpath([Path(pin.path).parent for pin in pins]))
    pinned = {Path(pin.path) for pin in pins}
    if unpinned := [path for path in files_in(folder) if path not in pinned]:
        raise StageError(
            f"a base is a whole folder, and all its files are part of the version; in {folder}, "
            f"{len(pinned)} are pinned and {len(unpinned)} are not "
            f"({', '.join(path.name for path in unpinned[:3])}). Name the folder itself; if you "
            "did, it has changed since the plan: run again"
        )
    return folder


def _refuse_adapter(folder: Path) -> None:
    adapters = [name for name in _ADAPTER_FILES if (folder / name).is_file()]
    if not adapters:
        return
    weights = [
        path.name
        for path in sorted(folder.glob("*.safetensors"))
        if path.name not in _ADAPTER_FILES
    ]
    if weights:
        raise StageError(
            f"{folder} holds full weights ({weights[0]}) and an adapter ({adapters[0]}), so it is "
            "unclear whether the adapter belongs to the base. Merge it (peft: "
            "`merge_and_unload()`, then `save_pretrained`) and name the merged folder, or move the "
            "adapter's files to another folder"
        )
    raise StageError(
        f"{folder} holds only an adapter ({adapters[0]}), not a base. Merge it into its model "
        "first (peft: `merge_and_unload()`, then `save_pretrained`) and name the merged folder"
    )


def open_base(folder: Path, scratch: Path, *, weights: bool = True) -> Path:
    """A local Hugging Face folder for `folder`; returned unchanged if it already is one.

    Accepted: `config.json` with safetensors; `tokenizer.json`; llama2.c's `<model>.bin` with
    `tok*.bin` or `tokenizer.bin`; a sentencepiece or Llama-3 `tokenizer.model`, alone, with a
    checkpoint, or with Meta's `params.json` and `consolidated.*.pth`. Conversions are written below
    `scratch`; weights of Hugging Face's layout are linked, not copied. Without `weights`, those of
    other layouts are not converted.
    """
    if not folder.is_dir():
        raise StageError(
            f"{folder} is not a folder; name the folder of a base, or an artifact with a "
            "checkpoint (of stage model or training; for a tokenizer's base, also of stage "
            "tokenizer)"
        )
    _refuse_adapter(folder)
    if (folder / "tokenizer.json").is_file():
        return folder
    target = scratch / "base"
    if (files := files_of(folder)) is not None:
        llama2c.convert(*files, target, weights=weights)
        return target
    model_files = sorted(folder.glob("*.model"))
    if len(model_files) == 1:
        tokenizer, settings = _convert(folder, model_files[0], target)
        if meta_llama.is_folder(folder):
            ids: dict[str, int | None] = {
                name: tokenizer.token_to_id(str(settings[name]))
                for name in ("bos_token", "eos_token")
                if name in settings
            }
            size = tokenizer.get_vocab_size(with_added_tokens=True)
            meta_llama.convert(folder, target, size, ids, weights=weights)
        return target
    if meta_llama.is_folder(folder):
        raise StageError(
            f"{folder} holds weights as Meta's, but no tokenizer.model (LLaMA-1's download keeps "
            "it one folder up); copy it there"
        )
    raise StageError(
        f"{folder} cannot be opened as a base: it needs tokenizer.json or one *.model file (and, "
        "for a model, config.json and safetensors, or Meta's params.json and consolidated.*.pth), "
        "or one llama2.c model .bin with one tok*.bin; "
        f"it has {[path.name for path in sorted(folder.iterdir())][:12]}"
    )


def converts_weights(folder: Path) -> bool:
    """Whether `open_base` writes the weights of a folder anew, so that without them there is
    nothing to look at.
    """
    if (folder / "tokenizer.json").is_file():
        return False
    return meta_llama.is_folder(folder) or not any(folder.glob("*.model"))


def _convert(folder: Path, model_file: Path, target: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """Write the tokenizer of `model_file` to `target`, and link the checkpoint's files there;
    returns the tokenizer and its settings.
    """
    tokenizer, settings = foreign_tokenizers.read_model_file(model_file)
    tokenizer = with_added_tokens(tokenizer, read_added_tokens(folder))
    settings = {**settings, **read_settings(folder)}
    write_tokenizer(tokenizer, target, settings)
    if is_model(model_file):
        shutil.copyfile(model_file, target / MODEL_FILE)
    for pattern in _CHECKPOINT_FILES:
        for file in folder.glob(pattern):
            (target / file.name).unlink(missing_ok=True)
            (target / file.name).symlink_to(file.resolve())
    return tokenizer, settings


@contextlib.contextmanager
def naming(given: Path, opened: Path) -> Iterator[None]:
    """Within this context, errors name the folder `given` instead of the folder that `open_base`
    made from it.
    """
    try:
        yield
    except StageError as error:
        if given == opened or str(opened) not in str(error):
            raise
        raise type(error)(str(error).replace(str(opened), str(given))) from error


@dataclass(frozen=True)
class BaseTokenizer:
    """A base's tokenizer and its sentencepiece model, if any.

    `corrected`: parts of the tokenizer ("merges", "spaces") that were taken from the model.
    """

    tokenizer: Tokenizer
    model: SentencePieceModel | None = None
    corrected: tuple[str, ...] = ()


def read_base_tokenizer(folder: Path) -> BaseTokenizer:
    """The tokenizer of an opened base; its sentencepiece file, if any, takes precedence.

    transformers 5 ranks merges by id when it converts a `.model`, so its `tokenizer.json` segments
    code and indentation differently from the tokenizer that the base was trained with. If the two
    files disagree, merges and the treatment of spaces are taken from the `.model`; added tokens,
    their ids and the template around texts are kept.
    """
    tokenizer = read_tokenizer(folder)
    path = folder / MODEL_FILE
    if not path.is_file() or is_rank_file(path):
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
            f"{len(model.pieces):,} pieces (e.g. {moved[0]!r}); remove the file that does not "
            "belong to the weights"
        )
    state, expected = json.loads(tokenizer.to_str()), json.loads(reference.to_str())
    corrected = []
    if not _same_ranking(state, expected):
        state["model"] |= {"merges": expected["model"]["merges"], "ignore_merges": False}
        corrected.append("merges")
    if _probe_ids(Tokenizer.from_str(json.dumps(state))) != _probe_ids(reference):
        state |= {key: expected[key] for key in ("normalizer", "pre_tokenizer", "decoder")}
        corrected.append("spaces")
    return BaseTokenizer(
        Tokenizer.from_str(json.dumps(state)) if corrected else tokenizer, model, tuple(corrected)
    )


def _same_ranking(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether the BPE models of two `tokenizer.json` rank the same pieces in the same order and
    segment each piece alike.

    They may list different splits of a piece. This makes no difference: the characters of a piece
    are always merged in the same order, so only one of its splits is ever used.
    """
    pieces, pieces_of_second = (
        list(dict.fromkeys(left + right for left, right in _merges(state)))
        for state in (first, second)
    )
    if pieces != pieces_of_second:
        return False
    one, other = (Tokenizer.from_str(json.dumps(state)).model for state in (first, second))
    return all(
        [token.id for token in one.tokenize(piece)] == [token.id for token in other.tokenize(piece)]
        for piece in pieces
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
"""Texts that show how a tokenizer treats spaces: dummy prefix, runs, line ends, special tokens."""


def _probe_ids(tokenizer: Tokenizer) -> list[list[int]]:
    tokenizer.encode_special_tokens = True
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in _PROBES]
    tokenizer.encode_special_tokens = False
    return ids
