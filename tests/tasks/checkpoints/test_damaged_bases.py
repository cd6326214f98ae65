"""Bases with damaged files, adapters, or files outside the version are read correctly or refused
with a clear error.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from infra.stage import StageError
from tasks.checkpoints.base import folder_of, open_base, read_base_tokenizer
from tasks.checkpoints.tokenizer_files import write_tokenizer
from tasks.checkpoints.tokenizer_settings import read_settings
from tasks.checkpoints.weights import SINGLE
from tasks.evaluation.model import load
from tasks.model.checkpoint import Checkpoint
from tasks.model.importance import rank_layers
from tasks.model.settings import read_generation
from tasks.model.stage import STAGE as MODEL
from tasks.model.stage import ModelParameters
from tests.stage_harness import pin, pins_of, run_stage
from tests.tasks.checkpoints.test_sentencepiece_model import write as write_model
from tests.tasks.model.bases import base, kept_tokenizer, split

Spoil = Callable[[Path], object]


def read_all(folder: Path, scratch: Path) -> None:
    """Read everything of a base that the stages tokenizer and model read or copy."""
    opened = open_base(folder, scratch)
    read_base_tokenizer(opened)
    read_settings(opened)
    Checkpoint.read(opened)
    read_generation(opened)


def write(name: str, content: str | bytes) -> Spoil:
    """Add a file to the base, or replace it."""
    return lambda folder: (folder / name).write_bytes(
        content.encode() if isinstance(content, str) else content
    )


def cut(name: str, share: float = 0.5) -> Spoil:
    """Truncate a file to a share of its bytes."""

    def spoil(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return spoil


def setting(name: str, **values: object) -> Spoil:
    """Set keys of a JSON file."""

    def spoil(folder: Path) -> None:
        path = folder / name
        settings = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(settings | values))

    return spoil


def offsets(change: Callable[[dict[str, dict[str, list[int]]]], object]) -> Spoil:
    """Change the header of the weights."""

    def spoil(folder: Path) -> None:
        blob = (folder / SINGLE).read_bytes()
        (length,) = struct.unpack("<Q", blob[:8])
        header = json.loads(blob[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        (folder / SINGLE).write_bytes(struct.pack("<Q", len(text)) + text + blob[8 + length :])

    return spoil


def in_two_parts(folder: Path) -> None:
    split(folder)
    first, second = sorted(folder.glob("model-*.safetensors"))
    tensors = load_file(first)
    save_file(load_file(second) | {name: tensors[name] for name in sorted(tensors)[:1]}, second)


def stray_part(folder: Path) -> None:
    split(folder)
    (folder / "model-00003-of-00003.safetensors").write_bytes(
        (folder / "model-00001-of-00002.safetensors").read_bytes()
    )


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
WRONG: dict[str, tuple[Spoil, str]] = {
    "generation bad JSON": (
        write("generation_config.json", "{"),
        "generation_config.json is not JSON .*download it",
    ),
    "generation a list": (
        write("generation_config.json", "[1]"),
        "generation_config.json holds a list, not an object",
    ),
    "generation empty": (write("generation_config.json", ""), "generation_config.json is not JSON"),
    "generation Latin-1": (
        write("generation_config.json", b'{"a": "\xe9"}'),
        "generation_config.json is not UTF-8",
    ),
    "generation pointer": (
        write("generation_config.json", POINTER),
        "generation_config.json is a Git LFS pointer",
    ),
    "generation ids": (
        setting("generation_config.json", suppress_tokens="a"),
        "suppress_tokens is 'a', not a list",
    ),
    "config cut": (cut("config.json"), "config.json is not JSON"),
    "config a string": (write("config.json", '"x"'), "config.json holds a str, not an object"),
    "config pointer": (write("config.json", POINTER), "config.json is a Git LFS pointer"),
    "config number as text": (
        setting("config.json", num_hidden_layers="2"),
        "num_hidden_layers is '2'",
    ),
    "config null": (setting("config.json", vocab_size=None), "vocab_size is None"),
    "config model type": (
        setting("config.json", model_type=["llama"]),
        r"model_type is \['llama'\]",
    ),
    "config rope": (
        setting("config.json", rope_parameters="x"),
        "transformers cannot build the model",
    ),
    "settings cut": (cut("tokenizer_config.json"), "tokenizer_config.json is not JSON"),
    "settings null": (
        write("tokenizer_config.json", "null"),
        "tokenizer_config.json holds a NoneType, not an object",
    ),
    "settings token": (
        setting("tokenizer_config.json", pad_token=7),
        "pad_token is 7, not a string",
    ),
    "settings object": (
        setting("tokenizer_config.json", eos_token={"a": 1}),
        'eos_token is {"a": 1}, not a string',
    ),
    "settings list": (
        setting("tokenizer_config.json", extra_special_tokens=[3]),
        r"tokens is \[3\], not a list of strings",
    ),
    "settings template": (
        setting("tokenizer_config.json", chat_template=[{"name": "x"}]),
        "not a template or a list",
    ),
    "special tokens": (
        write("special_tokens_map.json", "{]"),
        "special_tokens_map.json is not JSON",
    ),
    "chat template": (
        write("chat_template.jinja", b"\xff\xfe"),
        "chat_template.jinja is not UTF-8 text",
    ),
    "tokenizer cut": (cut("tokenizer.json"), "tokenizer.json cannot be read as a tokenizer"),
    "tokenizer no UTF-8": (
        write("tokenizer.json", b"\xff"),
        "tokenizer.json cannot be read as a tokenizer",
    ),
    "model beside cut": (
        write("tokenizer.model", b"\x0a\x05abc"),
        "tokenizer.model is not a sentencepiece model, or is",
    ),
    "model beside empty": (
        write("tokenizer.model", b""),
        "tokenizer.model is not a sentencepiece model.*no pieces",
    ),
    "weights cut": (cut(SINGLE), "model.safetensors .* is not a complete safetensors file"),
    "header cut": (cut(SINGLE, 0.01), "model.safetensors .* is not a complete safetensors file"),
    "offsets beyond": (
        offsets(lambda h: h["model.norm.weight"].update(data_offsets=[0, 1 << 40])),
        "model.safetensors .* is not a complete safetensors file",
    ),
    "shape and offsets": (
        offsets(lambda h: h["model.norm.weight"].update(shape=[3])),
        "model.safetensors .* is not a complete safetensors file",
    ),
    "tensor in another part": (
        in_two_parts,
        "00002-of-00002.* holds .*, which .* places in model-00001-of-00002",
    ),
    "part of another cut": (
        stray_part,
        "holds model-00003-of-00003.safetensors, which .* does not name",
    ),
    "adapter beside": (
        write("adapter_config.json", "{}"),
        r"full weights \(model.safetensors\) and an adapter",
    ),
    "adapter beside, weights": (
        write("adapter_model.safetensors", ""),
        r"an adapter \(adapter_model.safetensors\)",
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base(tmp_path_factory.mktemp("base"), tied=False)


def copied(whole: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in whole.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize(("spoil", "match"), WRONG.values(), ids=WRONG)
def test_a_damaged_base_is_refused(spoil: Spoil, match: str, whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "base")
    read_all(folder, tmp_path / "scratch")
    spoil(folder)
    with pytest.raises(StageError, match=match) as refused:
        read_all(folder, tmp_path / "scratch")
    assert str(folder) in str(refused.value)


WRONG_MODELS: dict[str, tuple[Spoil, str]] = {
    "cut in a piece": (
        cut("tokenizer.model", 0.4),
        "not a sentencepiece model, or is truncated .*download it",
    ),
    "cut behind a piece": (
        lambda folder: (folder / "tokenizer.model").write_bytes(b"\x0a\x05\x0a\x03abc"),
        "it ends before the settings that follow the pieces",
    ),
    "pointer": (write("tokenizer.model", POINTER), "tokenizer.model is a Git LFS pointer"),
    "ranks cut": (
        write("tokenizer.model", "IQ== 0\nIg== 1\nIw="),
        "not all of its 3 lines are a piece and its rank",
    ),
    "ranks of another": (
        write("tokenizer.model", "IQ== 0\nIg== 1\n"),
        "2 ranks; only Llama-3's file with 128,000 is supported",
    ),
    "added tokens a list": (write("added_tokens.json", "[]"), "added_tokens.json holds a list"),
    "added tokens ids": (write("added_tokens.json", '{"<x>": "7"}'), "the id of '<x>' is '7'"),
    "added tokens decoder": (
        setting("tokenizer_config.json", added_tokens_decoder={"first": {"content": "x"}}),
        "added_tokens_decoder does not map ids to tokens",
    ),
    "added tokens without text": (
        setting("tokenizer_config.json", added_tokens_decoder={"9": {}}),
        "added_tokens_decoder does not map ids to tokens",
    ),
}


@pytest.mark.parametrize(("spoil", "match"), WRONG_MODELS.values(), ids=WRONG_MODELS)
def test_a_damaged_model_file_is_refused(spoil: Spoil, match: str, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    write_model("llama", folder)
    open_base(folder, tmp_path / "scratch")
    spoil(folder)
    with pytest.raises(StageError, match=match):
        open_base(folder, tmp_path / "scratch")


def test_an_adapter_alone_must_be_merged_first(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(
        StageError, match=r"holds only an adapter .*merge_and_unload.*name the merged folder"
    ):
        open_base(tmp_path, tmp_path / "scratch")


def test_other_files_beside_the_weights_are_passed_over(whole: Path, tmp_path: Path) -> None:
    """Mistral's folders hold the weights twice; licences and readmes are everywhere."""
    folder = copied(whole, tmp_path / "base")
    split(folder)
    (folder / "consolidated.safetensors").write_bytes(b"whatever")
    (folder / "README.md").write_bytes(b"\xff")
    read_all(folder, tmp_path / "scratch")
    assert Checkpoint.read(folder).tensors.keys() == Checkpoint.read(whole).tensors.keys()


def test_a_table_that_transformers_ignores_needs_no_place_in_the_index(
    whole: Path, tmp_path: Path
) -> None:
    """Old Llama checkpoints hold rotary tables."""
    folder = copied(whole, tmp_path / "base")
    split(folder)
    part = folder / "model-00001-of-00002.safetensors"
    save_file(
        load_file(part) | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}, part
    )
    assert Checkpoint.read(folder).tensors.keys() == Checkpoint.read(whole).tensors.keys()
    rank_layers(folder, ["The cat sat on the mat."], "block-influence")


def test_a_base_is_pinned_whole(whole: Path, tmp_path: Path) -> None:
    """With a reference to one file of a folder, the others would be read outside the version."""
    folder = copied(whole, tmp_path / "base")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "model.safetensors.metadata").write_text("when it was downloaded")
    pins = pins_of(ModelParameters(base=str(folder)))["base"]
    assert folder_of(pins) == folder
    assert folder_of([p for p in pins if ".cache" not in p.path]) == folder
    with pytest.raises(
        StageError, match=r"in .*, 1 are pinned and \d are not \(.*\)\. Name the folder itself"
    ):
        folder_of([pin(folder / SINGLE)])
    tokenizer = kept_tokenizer(folder, tmp_path)
    with pytest.raises(StageError, match="Name the folder itself"):
        run_stage(
            MODEL,
            ModelParameters(base=str(folder / SINGLE)),
            {"tokenizer": tokenizer},
            tmp_path=tmp_path,
        )


def test_damaged_generation_settings_are_refused_before_anything_is_written(
    whole: Path, tmp_path: Path
) -> None:
    folder = copied(whole, tmp_path / "base")
    tokenizer = kept_tokenizer(folder, tmp_path)
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(StageError, match=r"generation_config\.json is not JSON"):
        run_stage(
            MODEL, ModelParameters(base=str(folder)), {"tokenizer": tokenizer}, tmp_path=tmp_path
        )
    assert not list((tmp_path / "store" / "model").rglob("*.safetensors*"))


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (cut(SINGLE), "cannot be loaded"),
        (cut("tokenizer.json"), "cannot be loaded"),
        (write("config.json", "{"), "cannot be loaded"),
        (
            offsets(lambda h: h.update({"model.other.weight": h.pop("model.norm.weight")})),
            "lacks .*model.norm.weight",
        ),
    ],
)
def test_evaluation_refuses_a_damaged_model(
    spoil: Spoil, match: str, whole: Path, tmp_path: Path
) -> None:
    folder = copied(whole, tmp_path / "base")
    load(folder, dtype="auto", device="cpu", max_length=None)
    spoil(folder)
    with pytest.raises(StageError, match=match):
        load(folder, dtype="auto", device="cpu", max_length=None)


def test_intact_settings_are_inherited(tmp_path: Path) -> None:
    """Every form that transformers writes: tokens as strings, objects, lists and named entries,
    named templates.
    """
    write_model("llama", tmp_path / "given")
    opened = open_base(tmp_path / "given", tmp_path)
    templates = [
        {"name": "default", "template": "{{ 1 }}"},
        {"name": "tools", "template": "{{ 2 }}"},
    ]
    given = {"pad_token": {"content": "</s>", "__type": "AddedToken"}, "chat_template": templates}
    setting(
        "tokenizer_config.json",
        **given,
        extra_special_tokens={"image_token": "<s>"},
        unk_token=None,
    )(opened)
    found = read_settings(opened)
    assert found["pad_token"] == "</s>" and found["extra_special_tokens"] == {"image_token": "<s>"}
    write_tokenizer(read_base_tokenizer(opened).tokenizer, tmp_path / "target", found)
    assert AutoTokenizer.from_pretrained(tmp_path / "target").pad_token == "</s>"


def test_an_error_in_the_weights_of_a_converted_base_names_the_users_folder(tmp_path: Path) -> None:
    """A base whose tokenizer is converted is opened in a scratch folder that the user does not
    know.
    """
    whole = base(tmp_path / "made")
    given = tmp_path / "given"
    given.mkdir()
    for name in ("config.json", SINGLE):
        (given / name).write_bytes((whole / name).read_bytes())
    write_model("llama", given)
    cut(SINGLE)(given)
    with pytest.raises(StageError, match="is not a complete safetensors file") as refused:
        run_stage(
            MODEL,
            ModelParameters(base=str(given)),
            {"tokenizer": kept_tokenizer(whole, tmp_path)},
            tmp_path=tmp_path,
        )
    assert str(given / SINGLE) in str(refused.value) and "scratch" not in str(refused.value)
