"""Importance of layers agrees with the full model: with its hidden states, and with its loss when a
layer is deleted.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from infra.stage import StageError
from tasks.checkpoints.base import open_base
from tasks.checkpoints.tokenizer_files import write_tokenizer
from tasks.model import streamed_model
from tasks.model.importance import SAMPLE_TEXTS, SAMPLE_TOKENS, rank_layers, sample
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH, sentencepiece_base

TEXTS = ["", *ENGLISH[:3], *CHINESE[:2], "the end </s> of it. " * 200]
LAYERS = 4


def write_base(
    folder: Path, kind: str = "llama", *, tied: bool = False, dtype: str = "float32"
) -> Path:
    """A random model whose layers change their input by very different amounts, with padding
    rows.
    """
    tokenizer = sentencepiece_base()
    write_tokenizer(
        tokenizer, folder, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    )
    sizes: dict[str, Any] = {
        "vocab_size": 320,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "initializer_range": 0.1,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    torch.manual_seed(3)
    if kind == "llama":
        rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0}
        config: Any = LlamaConfig(**sizes, rope_parameters=rope)
    else:
        config = Qwen3Config(
            **sizes, use_sliding_window=True, sliding_window=300, max_window_layers=2
        )
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for number, layer in enumerate(model.model.layers):
            for parameter in layer.parameters():
                parameter.mul_((1.5, 0.3, 2.0, 0.8)[number])
    model.to(getattr(torch, dtype)).save_pretrained(
        folder, max_shard_size="40KB" if kind == "llama" else "5GB"
    )
    return folder


def reference(
    base: Path, rows: list[list[int]], drop: int | None = None
) -> tuple[list[Any], float]:
    """The full model's hidden states before and after each layer (a list per row), and its nats per
    token.
    """
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    if drop is not None:
        layers = [
            copy.deepcopy(layer) for index, layer in enumerate(model.model.layers) if index != drop
        ]
        model.model.layers = torch.nn.ModuleList(layers)
        model.config.num_hidden_layers -= 1
    states, nats = [], []
    hooked: list[torch.Tensor] = []
    for layer in model.model.layers:
        layer.register_forward_hook(lambda module, given, out: hooked.extend([given[0], out]))
    for row in rows:
        hooked.clear()
        with torch.no_grad():
            logits = model(torch.tensor([row]), use_cache=False).logits[0, :-1, :310]
        states.append([state.clone() for state in hooked])
        nats.append(
            torch.nn.functional.cross_entropy(logits, torch.tensor(row[1:]), reduction="none")
        )
    return states, float(torch.cat(nats).mean())


@pytest.mark.parametrize(("kind", "tied"), [("llama", False), ("llama", True), ("qwen3", False)])
def test_values_equal_those_of_the_full_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, tied: bool
) -> None:
    monkeypatch.setattr(streamed_model, "HEAD_ROWS", 100)
    base = write_base(tmp_path / "base", kind, tied=tied)
    assert len(list(base.glob("*.safetensors"))) > 1 or kind != "llama"
    rows = sample(base, TEXTS)
    states, whole = reference(base, rows)
    influence = []
    for layer in range(LAYERS):
        pairs = [(row[2 * layer][0], row[2 * layer + 1][0]) for row in states]
        cosines = torch.cat(
            [torch.cosine_similarity(before, after, dim=-1) for before, after in pairs]
        )
        influence.append(1 - float(cosines.mean()))
    assert rank_layers(base, TEXTS, "block-influence") == pytest.approx(influence, abs=1e-5)
    assert influence.index(min(influence)) == 1
    without = [reference(base, rows, drop)[1] - whole for drop in range(LAYERS)]
    assert rank_layers(base, TEXTS, "loss") == pytest.approx(without, abs=1e-5)
    assert rank_layers(base, TEXTS, "loss") == rank_layers(base, TEXTS, "loss")


def test_hidden_states_are_those_that_transformers_reports(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", dtype="bfloat16")
    rows = sample(base, TEXTS)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    similarity: list[list[torch.Tensor]] = [[] for _ in range(LAYERS - 1)]
    for row in rows:
        with torch.no_grad():
            states = model(torch.tensor([row]), output_hidden_states=True).hidden_states
        for layer in range(LAYERS - 1):  # transformers reports the last state after the final norm
            similarity[layer].append(
                torch.cosine_similarity(states[layer][0], states[layer + 1][0], dim=-1)
            )
    expected = [1 - float(torch.cat(values).mean()) for values in similarity]
    assert rank_layers(base, TEXTS, "block-influence")[:-1] == pytest.approx(expected, abs=1e-5)


def test_the_sample_is_bounded_and_starts_with_bos(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    rows = sample(base, TEXTS)
    assert len(rows) == len(TEXTS) - 1
    assert all(row[0] == 1 and 2 <= len(row) <= SAMPLE_TOKENS for row in rows)
    assert len(rows[-1]) == SAMPLE_TOKENS
    assert 2 not in rows[-1]
    assert len(sample(base, ["the " * 5] * 50)) == SAMPLE_TEXTS


def test_unsuitable_bases_and_texts_are_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "qwen3")
    for texts in ([], ["", ""]):
        with pytest.raises(StageError, match=f"none of {len(texts)} texts has two tokens"):
            rank_layers(base, texts, "loss")
    path = base / "model.safetensors"
    tensors = load_file(path)
    save_file(
        {name: value for name, value in tensors.items() if "1.mlp.up" not in name},
        path,
        {"format": "pt"},
    )
    with pytest.raises(StageError, match=r"layers\.1\.\* are not those .*mlp\.up_proj\.weight"):
        rank_layers(base, TEXTS, "block-influence")
    save_file(
        tensors | {"model.layers.0.mlp.up_proj.weight": torch.zeros(47, 32)}, path, {"format": "pt"}
    )
    with pytest.raises(
        StageError,
        match=r"up_proj.weight has shape \(47, 32\), but its configuration calls for \(48, 32\)",
    ):
        rank_layers(base, TEXTS, "block-influence")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(StageError, match="layers of a 'bert' model cannot be ranked"):
        rank_layers(base, TEXTS, "loss")


@pytest.mark.real
def test_the_first_layer_of_stories260k_matters_most(stories260k: Path, tmp_path: Path) -> None:
    base = open_base(stories260k, tmp_path)
    text = (
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the "
        "park. " * 4
    )
    for measure in ("block-influence", "loss"):
        values = rank_layers(base, [text], measure)
        assert len(values) == 5 and max(values) == values[0]
