"""Meta's own checkpoints: their shards joined give the logits of llama2.c's `run.c`, whose order of
rotary dimensions is Meta's.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from flows.cli import app
from infra.stage import StageError
from tasks.checkpoints.base import open_base
from tasks.checkpoints.base_config import config_of
from tasks.checkpoints.meta_llama import stated_hidden
from tests.tasks.checkpoints.test_llama2c import reference_logits
from tests.tasks.checkpoints.test_sentencepiece_model import trained, write

DIM, HIDDEN, LAYERS, HEADS, KV_HEADS = 16, 24, 2, 4, 2
TOKENS = [1, 300, 270, 5, 288, 261, 299]


def write_meta(folder: Path, shards: int = 2, **parameters: Any) -> Path:
    """A folder as LLaMA-1's with a small random model; beside it `run.bin`, the same for run.c."""
    vocabulary = _size(write("llama", folder))
    dice, kv = np.random.default_rng(0), KV_HEADS * DIM // HEADS

    def drawn(*shape: int) -> np.ndarray:
        return dice.normal(0, 0.3, shape).astype("<f4")

    made = {
        "tok_embeddings": drawn(vocabulary, DIM),
        "attention_norm": drawn(LAYERS, DIM),
        "attention.wq": drawn(LAYERS, DIM, DIM),
        "attention.wk": drawn(LAYERS, kv, DIM),
        "attention.wv": drawn(LAYERS, kv, DIM),
        "attention.wo": drawn(LAYERS, DIM, DIM),
        "ffn_norm": drawn(LAYERS, DIM),
        "feed_forward.w1": drawn(LAYERS, HIDDEN, DIM),
        "feed_forward.w2": drawn(LAYERS, DIM, HIDDEN),
        "feed_forward.w3": drawn(LAYERS, HIDDEN, DIM),
        "norm": drawn(DIM),
        "rope": drawn(32, DIM // HEADS),
        "output": drawn(vocabulary, DIM),
    }
    sizes = struct.pack("<7i", DIM, HIDDEN, LAYERS, HEADS, KV_HEADS, -vocabulary, 32)
    (folder.parent / "run.bin").write_bytes(
        sizes + b"".join(map(np.ndarray.tobytes, made.values()))
    )
    whole = {"rope.freqs": torch.zeros(2)}
    for name, values in made.items():
        if name in ("tok_embeddings", "norm", "output"):
            whole[f"{name}.weight"] = torch.from_numpy(values)
        elif name != "rope":
            for at in range(LAYERS):
                whole[f"layers.{at}.{name}.weight"] = torch.from_numpy(values[at])
    for number in range(shards):
        part = {name: _split(name, tensor, shards)[number] for name, tensor in whole.items()}
        torch.save(part, folder / f"consolidated.{number:02d}.pth")
    stated = {"dim": DIM, "multiple_of": 8, "n_heads": HEADS, "n_kv_heads": KV_HEADS}
    stated |= {"n_layers": LAYERS, "norm_eps": 1e-5, "vocab_size": -1, "ffn_dim_multiplier": 0.5}
    stated |= parameters
    (folder / "params.json").write_text(json.dumps(stated))
    names = [*sorted(path.name for path in folder.glob("*.pth")), "params.json"]
    sums = [hashlib.md5((folder / name).read_bytes()).hexdigest() for name in names]
    lines = [f"{digest}  {name}\n" for digest, name in zip(sums, names, strict=True)]
    (folder / "checklist.chk").write_text("".join(lines))
    return folder


def _size(model: Path) -> int:
    from sentencepiece import SentencePieceProcessor

    return int(SentencePieceProcessor(model_file=str(model)).get_piece_size())


def _split(name: str, tensor: torch.Tensor, shards: int) -> list[torch.Tensor]:
    """As Meta's model-parallel layers do."""
    if "norm" in name or name == "rope.freqs":
        return [tensor] * shards
    by_columns = any(part in name for part in ("tok_embeddings", ".wo.", ".w2."))
    return [part.clone() for part in tensor.chunk(shards, dim=int(by_columns))]


def logits(folder: Path) -> np.ndarray:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    found: np.ndarray = model(torch.tensor([TOKENS])).logits[0, -1].detach().numpy()
    return found


@pytest.mark.parametrize("shards", [1, 2])
def test_logits_equal_run_c(tmp_path: Path, shards: int) -> None:
    source = write_meta(tmp_path / "7B", shards)
    opened = open_base(source, tmp_path)
    expected = reference_logits(tmp_path / "run.bin", TOKENS)
    np.testing.assert_allclose(logits(opened), expected, atol=2e-5)
    config = json.loads((opened / "config.json").read_text())
    assert (config["max_position_embeddings"], config["bos_token_id"]) == (4_096, 1)
    assert config["intermediate_size"] == HIDDEN and not config["tie_word_embeddings"]
    assert (opened / "tokenizer.model").read_bytes() == trained("llama")


def test_rows_of_embeddings_may_be_split_as_llama_3_does(tmp_path: Path) -> None:
    source = write_meta(tmp_path / "8B")
    shards = [torch.load(path, weights_only=True) for path in sorted(source.glob("*.pth"))]
    name = "tok_embeddings.weight"
    rows = torch.cat([shard[name] for shard in shards], dim=1).chunk(2, dim=0)
    for path, shard, part in zip(sorted(source.glob("*.pth")), shards, rows, strict=True):
        torch.save(shard | {name: part.clone()}, path)
    (source / "checklist.chk").unlink()
    expected = reference_logits(tmp_path / "run.bin", TOKENS)
    np.testing.assert_allclose(logits(open_base(source, tmp_path)), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("parameters", "positions"),
    [({"norm_eps": 1e-6}, 2_048), ({}, 4_096), ({"rope_theta": 500_000.0}, 8_192)],
)
def test_positions_are_those_of_the_generation(
    tmp_path: Path, parameters: dict[str, float], positions: int
) -> None:
    opened = open_base(write_meta(tmp_path / "it", 1, **parameters), tmp_path)
    config = json.loads((opened / "config.json").read_text())
    assert config["max_position_embeddings"] == positions
    assert config["rope_parameters"]["rope_theta"] == parameters.get("rope_theta", 10_000.0)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dim": "16"}, "dim is '16', not a size"),
        ({"n_layers": 3}, r"lacks layers.2.attention.wq.weight, which params.json calls for"),
        ({"n_layers": 1}, r"has layers.1.attention.\S+, which params.json has no place for"),
        ({"n_kv_heads": 4}, r"layers.0.attention.wk.weight has the shape \(8, 16\)"),
        ({"n_heads": 3}, "3 heads .* do not divide dim 16"),
        ({"vocab_size": 32_000}, "states a vocabulary of 32,000"),
        ({"use_scaled_rope": True}, "use_scaled_rope"),
        ({"multiple_of": 256}, r"are 24 wide, but params.json \(.*\) calls for 256"),
    ],
)
def test_parameters_that_the_shards_deny_are_refused(
    tmp_path: Path, parameters: dict[str, Any], message: str
) -> None:
    source = write_meta(tmp_path / "it", **parameters)
    for weights in (False, True):  # as a plan looks at it, and as a run does
        with pytest.raises(StageError, match=message):
            open_base(source, tmp_path / "scratch", weights=weights)


class Runs:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("touched"),)  # type: ignore[return-value]


def test_damaged_folders_are_refused_and_no_pickle_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = write_meta(tmp_path / "it")
    first, second = sorted(source.glob("*.pth"))
    whole = second.read_bytes()
    second.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StageError, match=r"consolidated.01.pth has the MD5 sum"):
        open_base(source, tmp_path)
    second.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StageError, match="not a complete file of torch"):
        open_base(source, tmp_path, weights=False)
    second.unlink()
    with pytest.raises(StageError, match=r"lacks consolidated.01.pth, which checklist.chk lists"):
        open_base(source, tmp_path, weights=False)
    second.write_bytes(whole)
    first.unlink()
    with pytest.raises(StageError, match=r"but not number 00"):
        open_base(source, tmp_path, weights=False)
    (source / "checklist.chk").unlink()
    torch.save({"norm.weight": Runs()}, first)
    with pytest.raises(StageError, match="not a file of plain tensors"):
        open_base(source, tmp_path)
    assert not (tmp_path / "touched").exists()
    (source / "tokenizer.model").unlink()
    with pytest.raises(StageError, match="LLaMA-1's download keeps it one folder up"):
        open_base(source, tmp_path)


@pytest.mark.parametrize(
    ("stated", "hidden"),
    [
        ({"dim": 4096, "multiple_of": 256}, 11_008),  # LLaMA-7B
        ({"dim": 8192, "multiple_of": 4096, "ffn_dim_multiplier": 1.3}, 28_672),  # Llama-2-70B
        ({"dim": 4096, "multiple_of": 1024, "ffn_dim_multiplier": 1.3}, 14_336),  # Llama-3-8B
    ],
)
def test_the_width_of_the_mlps_is_that_of_published_models(
    tmp_path: Path, stated: dict[str, Any], hidden: int
) -> None:
    (tmp_path / "params.json").write_text(json.dumps(stated))
    assert stated_hidden(tmp_path) == hidden


def test_the_configuration_is_known_without_the_weights(tmp_path: Path) -> None:
    source = write_meta(tmp_path / "7B", ffn_dim_multiplier=0.5)
    written = json.loads((open_base(source, tmp_path) / "config.json").read_text())
    planned = config_of(source)
    same = {"bos_token_id": None, "eos_token_id": None, "dtype": "", "torch_dtype": ""}
    assert planned is not None and planned | same == written | same
    (source / "tokenizer.model").unlink()
    assert config_of(source) is None  # which the stage reports


def test_a_plan_needs_no_shape(tmp_path: Path) -> None:
    source = write_meta(tmp_path / "7B", ffn_dim_multiplier=0.5)
    (tmp_path / "text.jsonl").write_text('{"text": "one"}\n')
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"""
name: meta
sources: {{zh: {{ingest: {{format: jsonl, paths: [text.jsonl]}}, category: zh}}}}
tokenizer: {{base: "{source}"}}
model: {{base: "{source}"}}
binning: {{sequence_length: 32}}
training: {{batch: 1K, phases: [{{name: one, tokens: 64K}}]}}
"""
    )
    given = ["plan", str(recipe), "--store", str(tmp_path / "s"), "--json"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    opened = open_base(source, tmp_path)
    weights = AutoModelForCausalLM.from_pretrained(opened).parameters()
    found = json.loads(done.stdout)["training"]
    assert found.get("parameters") == sum(tensor.numel() for tensor in weights), found
