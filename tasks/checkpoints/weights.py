"""Finds the tensors of a Hugging Face checkpoint by the headers of its safetensors files.

Reads no tensor, so that a plan can tell whether weights are whole.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open

from infra.stage import StageError
from tasks.checkpoints.text_files import read_json, refuse_pointer

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_PART = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
COMPUTED = ".rotary_emb.inv_freq"
"""End of a tensor's name in old Llama checkpoints. transformers ignores it, and computes the table
from the configuration.
"""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: its type by safetensors' name, and its bytes at `start` in the file."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    bytes: int

    def within(self, folder: Path) -> StoredTensor:
        """The same tensor in another copy of its file's folder."""
        return replace(self, path=str(folder / Path(self.path).name))


def read_tensors(folder: Path) -> dict[str, StoredTensor]:
    """All tensors by name. A single file takes precedence over an index, as in transformers.

    Files that the index does not name are ignored (Mistral's folders hold the weights a second
    time, as `consolidated.safetensors`), unless they are named like its parts: these are refused.
    """
    if (folder / SINGLE).is_file():
        return read_header(folder / SINGLE)
    if not (folder / INDEX).is_file():
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        if pickles:
            raise StageError(
                f"{folder} holds its weights as pickles ({pickles[0]}), which can run code when "
                "they are read. Convert them where you trust them: "
                "`AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW)`"
            )
        raise StageError(f"{folder} has neither {SINGLE} nor {INDEX}; it has {_names(folder)}")
    weights = read_json(folder / INDEX).get("weight_map")
    if (
        not isinstance(weights, dict)
        or not weights
        or any(Path(str(file)).name != file for file in weights.values())
    ):
        raise StageError(
            f"{folder}/{INDEX} is not an index of weights (its weight_map must name a file in this "
            "folder for each tensor); download it again"
        )
    files = sorted(set(weights.values()))
    absent = [name for name in files if not (folder / name).is_file()]
    if absent:
        raise StageError(
            f"{folder} lacks {absent[0]}, which {INDEX} names ({len(absent)} of {len(files)} files "
            "are absent): the download is not complete"
        )
    parts = {path.name for path in folder.iterdir() if _PART.fullmatch(path.name)}
    if strays := sorted(parts - set(files)):
        raise StageError(
            f"{folder} holds {strays[0]}, which {INDEX} does not name ({', '.join(files[:3])}): "
            "parts of two downloads, or of two splits of the weights; remove those that do not "
            "belong, or download all again"
        )
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        stored = read_header(folder / file)
        indexed = {name for name, file_of_tensor in weights.items() if file_of_tensor == file}
        if lost := sorted(indexed - set(stored)):
            raise StageError(
                f"{folder}/{file} lacks {lost[0]}, which {INDEX} says it holds; download both again"
            )
        extra = sorted(name for name in set(stored) - indexed if not name.endswith(COMPUTED))
        if extra:
            stated = f"places in {weights[extra[0]]}" if extra[0] in weights else "does not name"
            raise StageError(
                f"{folder}/{file} holds {extra[0]}, which {INDEX} {stated}; download both again"
            )
        tensors |= stored
    return tensors


def _names(folder: Path) -> list[str]:
    """The first file names in a folder, for an error."""
    return [path.name for path in sorted(folder.iterdir())][:12]


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file by name. `StageError` if it is truncated, damaged or another format."""
    refuse_pointer(path)
    with path.open("rb") as stream:
        try:
            # Checks lengths, types, offsets and the file's size without reading a tensor.
            with safe_open(path, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise StageError(
                f"{path} ({path.stat().st_size:,} bytes) is not a complete safetensors file "
                f"({error}); download it again"
            ) from error
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        low, high = entry["data_offsets"]
        tensors[name] = StoredTensor(
            str(path), entry["dtype"], tuple(entry["shape"]), 8 + length + low, high - low
        )
    return tensors
