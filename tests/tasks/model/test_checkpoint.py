"""Checkpoints whose configuration, index and tensors disagree, and other files, are refused with a
clear error.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from infra.stage import StageError
from tasks.checkpoints.weights import INDEX, SINGLE, read_header
from tasks.model.checkpoint import Checkpoint
from tasks.model.safetensors_file import copy_of, write_file
from tests.tasks.model.bases import base, change_config, change_tensors, split


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int64])
def test_files_are_written_as_safetensors_writes_them(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {
        "b": torch.arange(7).to(dtype),
        "a.中": torch.zeros(2, 3, dtype=dtype),
        "c": torch.ones((), dtype=dtype),
    }
    save_file(tensors, tmp_path / "theirs", metadata={"format": "pt"})
    write_file(
        tmp_path / "ours",
        [copy_of(name, place) for name, place in read_header(tmp_path / "theirs").items()],
    )
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_files_of_mixed_types_are_copied(tmp_path: Path) -> None:
    tensors = {
        "a": torch.ones(3, dtype=torch.uint8),
        "b": torch.ones(2, dtype=torch.bfloat16),
        "c": torch.ones(2),
    }
    tensors |= {"d": torch.ones(3, dtype=torch.float8_e5m2), "e": torch.zeros(0, 4)}
    save_file(tensors, tmp_path / "theirs")
    found = read_header(tmp_path / "theirs")
    write_file(tmp_path / "ours", [copy_of(name, place) for name, place in found.items()])
    again = load_file(tmp_path / "ours")
    assert all(
        torch.equal(again[name].view(torch.uint8), tensors[name].view(torch.uint8))
        for name in tensors
    )
    assert all(
        place.start % 4 == 0
        for place in read_header(tmp_path / "ours").values()
        if place.dtype == "F32"
    )


def cut(folder: Path) -> None:
    content = (folder / SINGLE).read_bytes()
    (folder / SINGLE).write_bytes(content[:-1])


def damage_header(folder: Path) -> None:
    (folder / SINGLE).write_bytes(struct.pack("<Q", 20) + b"{" * 20)


def pickle_only(folder: Path) -> None:
    (folder / SINGLE).rename(folder / "pytorch_model.bin")


def file_absent(folder: Path) -> None:
    split(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def weights_absent(folder: Path) -> None:
    (folder / SINGLE).unlink()


def index_damaged(folder: Path) -> None:
    weights_absent(folder)
    (folder / INDEX).write_text("[]")


def index(folder: Path, change: Callable[[dict[str, str]], None]) -> None:
    split(folder)
    found = json.loads((folder / INDEX).read_text())
    change(found["weight_map"])
    (folder / INDEX).write_text(json.dumps(found))


WRONG: list[tuple[Callable[[Path], None], str]] = [
    (lambda f: change_config(f, vocab_size=999), "says vocab_size 999, but the matrices have"),
    (
        lambda f: change_config(f, num_hidden_layers=3),
        "num_hidden_layers 3, but the tensors have layers 0 to 1",
    ),
    (
        lambda f: change_config(f, num_hidden_layers=1),
        "num_hidden_layers 1, but the tensors have layers 0 to 1",
    ),
    (
        lambda f: change_config(f, intermediate_size=32),
        r"down_proj.weight has shape \[16, 24\].*calls for \[16, 32\]",
    ),
    (
        lambda f: change_config(f, num_key_value_heads=4),
        r"k_proj.weight has shape \[8, 16\].*calls for \[16, 16\]",
    ),
    (
        lambda f: change_config(f, attention_bias=True),
        "lacks 8 tensors that config.json calls for, first .*k_proj.bias",
    ),
    (
        lambda f: change_config(f, hidden_size=None),
        "lacks hidden_size; a base must be a Llama-style language model",
    ),
    (
        lambda f: change_config(f, hidden_size=18),
        "cannot build the model of config.json: The hidden size",
    ),
    (lambda f: (f / "config.json").write_text("{"), "config.json is not JSON"),
    (lambda f: (f / "config.json").unlink(), "has no config.json"),
    (
        lambda f: change_config(f, tie_word_embeddings=True),
        "says tie_word_embeddings, but lm_head.weight differs",
    ),
    (lambda f: change_tensors(f, lm_head__weight=None), "when not tied, one"),
    (lambda f: change_tensors(f, other__lm_head__weight=torch.zeros(2)), "has input matrices"),
    (
        lambda f: change_tensors(f, layers__1__mlp__up_proj__weight=None),
        "lacks 1 tensors .*layers.1.mlp.up_proj",
    ),
    (
        lambda f: change_tensors(f, model__norm__weight=torch.ones(8)),
        r"model.norm.weight has shape \[8\]",
    ),
    (cut, "is not a complete safetensors file"),
    (damage_header, "is not a complete safetensors file"),
    (lambda f: (f / SINGLE).write_bytes(b""), "is not a complete safetensors file"),
    (
        lambda f: (f / SINGLE).write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0"
        ),
        "git lfs pull",
    ),
    (pickle_only, r"as pickles \(pytorch_model.bin\).*save_pretrained"),
    (weights_absent, "has neither model.safetensors nor model.safetensors.index.json"),
    (file_absent, r"lacks model-00002-of-00002.safetensors, .* \(1 of 2 files are absent\)"),
    (
        lambda f: index(f, lambda m: m.update({"x": "model-00001-of-00002.safetensors"})),
        "lacks x, which .* says",
    ),
    (
        lambda f: index(f, lambda m: m.pop("lm_head.weight") and None),
        "holds lm_head.weight, which .* does not name",
    ),
    (index_damaged, r"index\.json holds a list, not an object"),
    (
        lambda f: index(f, lambda m: m.update({"x": "../x.safetensors"})),
        "is not an index of weights",
    ),
    (lambda f: index(f, lambda m: m.clear()), "is not an index of weights"),
]


@pytest.mark.parametrize(("spoil", "match"), WRONG, ids=[match[:40] for _, match in WRONG])
def test_an_inconsistent_checkpoint_is_refused(
    spoil: Callable[[Path], None], match: str, tmp_path: Path
) -> None:
    folder = base(tmp_path, tied=False)
    Checkpoint.read(folder)
    spoil(folder)
    with pytest.raises(StageError, match=match):
        Checkpoint.read(folder)


def test_a_tied_checkpoint_may_hold_its_matrix_twice(tmp_path: Path) -> None:
    folder = base(tmp_path)
    tensors = load_file(folder / SINGLE)
    change_tensors(folder, lm_head__weight=tensors["model.embed_tokens.weight"].clone())
    checkpoint = Checkpoint.read(folder)
    assert checkpoint.tied and "lm_head.weight" not in checkpoint.tensors


def test_tables_in_old_llama_checkpoints_are_left_out(tmp_path: Path) -> None:
    folder = base(tmp_path)
    change_tensors(folder, model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(2))
    assert not [name for name in Checkpoint.read(folder).tensors if "inv_freq" in name]


def test_an_unstated_tie_is_the_familys_default(tmp_path: Path) -> None:
    folder = base(tmp_path, tied=False)
    change_config(folder, tie_word_embeddings=None)
    assert not Checkpoint.read(folder).tied
