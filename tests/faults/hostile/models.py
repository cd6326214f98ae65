"""Models and tokenizers from strangers: code, lies about sizes, and files that lead elsewhere."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

from tests.faults.hostile.case import PUNA, Command
from tests.faults.hostile.table import case
from tests.faults.hostile.writing import PLAIN, build, plan, rows, write
from tests.small_base import write_base

BASE = (
    PLAIN
    + """\
dedup: {}
select: {heldout: null}
tokenizer: {base: base}
model: {base: base}
binning: {sequence_length: 64}
training:
  optimizer: {lr: 1e-3}
  batch: 128
  phases: [{name: only, tokens: 256, mixture: {web: 1.0}}]
"""
)


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def _recipe(folder: Path) -> Path:
    rows(folder / "web.jsonl", 60)
    text = BASE.replace("ingest: {", "category: web, ingest: {")
    return write(folder / "recipe.yaml", text)


def _with_weights(folder: Path, data: bytes) -> list[Command]:
    write_base(folder / "base")
    write(folder / "base" / "model.safetensors", data)
    return [plan(_recipe(folder))]


def _header(header: dict[str, Any] | bytes, data: bytes = b"", size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


NAME = "model.embed_tokens.weight"


@case("weights: a pickle that runs code", "refused", "pickles", "executed")
def _(folder: Path) -> list[Command]:
    write_base(folder / "base")
    (folder / "base" / "model.safetensors").unlink()
    write(folder / "base" / "pytorch_model.bin", pickle.dumps(Touch(folder / "executed")))
    return [plan(_recipe(folder))]


@case("weights: a pickle named safetensors", "refused", "safetensors", "executed")
def _(folder: Path) -> list[Command]:
    return _with_weights(folder, pickle.dumps(Touch(folder / "executed")))


@case(
    "weights: Meta's layout with a pickle that runs code",
    "refused",
    "pickle|weights_only|consolidated|config.json",
    "executed",
)
def _(folder: Path) -> list[Command]:
    write_base(folder / "base")
    (folder / "base" / "model.safetensors").unlink()
    (folder / "base" / "config.json").unlink()
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "norm_eps": 1e-5, "vocab_size": 260}
    write(folder / "base" / "params.json", json.dumps(sizes | {"multiple_of": 8}))
    write(folder / "base" / "consolidated.00.pth", pickle.dumps(Touch(folder / "executed")))
    return [plan(_recipe(folder))]


@case("safetensors: a header of 2^60 bytes", "refused", "safetensors")
def _(folder: Path) -> list[Command]:
    return _with_weights(folder, _header({}, size=1 << 60))


@case("safetensors: a header nested 10^5 deep", "refused", "safetensors")
def _(folder: Path) -> list[Command]:
    return _with_weights(folder, _header(b'{"a":' * 100_000 + b"1" + b"}" * 100_000))


@case("safetensors: a shape whose product wraps around", "refused", "safetensors")
def _(folder: Path) -> list[Command]:
    entry = {"dtype": "F16", "shape": [1 << 33, 1 << 33, 2], "data_offsets": [0, 8]}
    return _with_weights(folder, _header({NAME: entry}, bytes(8)))


@case("safetensors: tensors that lie over each other", "refused", "safetensors")
def _(folder: Path) -> list[Command]:
    entry = {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}
    return _with_weights(folder, _header({NAME: entry, "other": entry}, bytes(8)))


@case("safetensors: an offset beyond the file", "refused", "safetensors")
def _(folder: Path) -> list[Command]:
    entry = {"dtype": "F16", "shape": [1 << 30], "data_offsets": [1 << 40, (1 << 40) + (1 << 31)]}
    return _with_weights(folder, _header({NAME: entry}, bytes(64)))


@case("weights: an index that leads out of the folder", "refused", "index|outside|safetensors")
def _(folder: Path) -> list[Command]:
    write_base(folder / "base")
    (folder / "base" / "model.safetensors").rename(folder / "elsewhere.safetensors")
    index = {"metadata": {}, "weight_map": {NAME: "../elsewhere.safetensors"}}
    write(folder / "base" / "model.safetensors.index.json", json.dumps(index))
    return [plan(_recipe(folder))]


@case("config: code of its own (auto_map)", "done", "training/only|refused", "executed")
def _(folder: Path) -> list[Command]:
    write_base(folder / "base", auto_map={"AutoModelForCausalLM": "evil.Evil"})
    write(folder / "base" / "evil.py", f"open({str(folder / 'executed')!r}, 'w')\n")
    return [plan(_recipe(folder))]


@case("config: sizes of a model that fits nowhere", "refused", "hidden_size|shape|tensor|weights")
def _(folder: Path) -> list[Command]:
    write_base(folder / "base")
    config = json.loads((folder / "base" / "config.json").read_text())
    config |= {"hidden_size": 1 << 40, "num_hidden_layers": 1 << 40}
    write(folder / "base" / "config.json", json.dumps(config))
    return [plan(_recipe(folder))]


@case("config: words for numbers, nested 10^5 deep", "refused", "config.json")
def _(folder: Path) -> list[Command]:
    write_base(folder / "base")
    write(folder / "base" / "config.json", '{"a":' * 100_000 + "1" + "}" * 100_000)
    return [plan(_recipe(folder))]


@case("tokenizer: a pattern that takes for ever", "refused", "pattern")
def _(folder: Path) -> list[Command]:
    write_base(folder / "base")
    file = folder / "base" / "tokenizer.json"
    made = json.loads(file.read_text())
    pattern = {"Regex": "(a|a|aa|a?)+$"}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    made["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, made["pre_tokenizer"]]}
    write(file, json.dumps(made))
    recipe = _recipe(folder)
    line = json.dumps({"text": "a" * 5000 + "b"}) + "\n"
    with (folder / "web.jsonl").open("a") as stream:
        stream.write(line * 40)
    return [build(recipe, "binning")]


@case("tokenizer: a token for every id up to 2^31", "refused", "tokenizer|rows|vocab")
def _(folder: Path) -> list[Command]:
    write_base(folder / "base")
    file = folder / "base" / "tokenizer.json"
    made = json.loads(file.read_text())
    made["model"]["vocab"]["far"] = (1 << 31) - 1
    write(file, json.dumps(made))
    return [build(_recipe(folder), "binning")]


@case("tokenizer: code of its own", "done", "training/only", "executed")
def _(folder: Path) -> list[Command]:
    write_base(folder / "base")
    settings = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}
    write(folder / "base" / "tokenizer_config.json", json.dumps(settings))
    write(folder / "base" / "evil.py", f"open({str(folder / 'executed')!r}, 'w')\n")
    return [plan(_recipe(folder))]


@case("tokenizer: a SentencePiece file of noise", "refused", "tokenizer|SentencePiece")
def _(folder: Path) -> list[Command]:
    write_base(folder / "base")
    (folder / "base" / "tokenizer.json").unlink()
    write(folder / "base" / "tokenizer.model", bytes(range(256)) * 40)
    return [plan(_recipe(folder))]


@case("language ID: a model of noise with fastText's first bytes", "refused", "fastText|langid")
def _(folder: Path) -> list[Command]:
    rows(folder / "web.jsonl")
    write(folder / "lid.bin", struct.pack("<ii", 793712314, 12) + b"\xff" * 5000)
    text = PLAIN.replace("}}", "}, langid: {model: lid.bin}}")
    return [build(write(folder / "recipe.yaml", text), "langid")]


@case("perplexity: a KenLM file of noise", "refused", "SentencePiece|KenLM")
def _(folder: Path) -> list[Command]:
    rows(folder / "web.jsonl")
    write(folder / "models" / "en.arpa.bin", b"mmap lm http://kheafield.com/code\n" + b"\xff" * 999)
    write(folder / "models" / "en.sp.model", b"\xff" * 999)
    text = PLAIN.replace("}}", "}, langid: {}, perplexity: {keep: [head]}}")
    text += "language_models: {en: {folder: models}}\n"
    return [build(write(folder / "recipe.yaml", text), "perplexity")]


@case("store: a manifest whose files lead out of it", "refused", "manifest|damaged|outside|name")
def _(folder: Path) -> list[Command]:
    rows(folder / "web.jsonl")
    write(folder / "precious.txt", "precious")
    recipe = write(folder / "recipe.yaml", PLAIN)
    change = (
        "import json, pathlib\n"
        "for m in pathlib.Path('store').rglob('manifest.json'):\n"
        "    d = json.loads(m.read_text())\n"
        "    for o in d['outputs']: o['path'] = o['name'] = '../../../../precious.txt'\n"
        "    m.write_text(json.dumps(d))\n"
    )
    import sys

    return [
        build(recipe),
        (sys.executable, "-c", change),
        (PUNA, "artifacts", "verify", "--store", "store"),
    ]
