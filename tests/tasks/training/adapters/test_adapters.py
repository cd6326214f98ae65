"""Phases with an adapter: what is trained, merged, kept beside, continued."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, MixtralConfig

from tasks.training.adapters.merge import plain_weights
from tasks.training.adapters.quantise import dequantised, quantise, require_quantization
from tasks.training.adapters.targets import AdapterError
from tasks.training.errors import Interrupted
from tasks.training.loop import Phase
from tasks.training.phases.section import TrainingSection
from tasks.training.spec import Spec
from tests.tasks.training.test_loop import files, stop_after
from tests.tasks.training.toys import VOCABULARY, parameters, save_bins, save_model, spec

pytestmark = pytest.mark.filterwarnings(  # PEFT's own PeftModel, which only these tests make
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

IDS = (torch.arange(48).view(2, 24) * 5) % VOCABULARY
NEW_ROWS = (90, 96)
LORA: dict[str, Any] = {"kind": "lora", "r": 4}
EVERYTHING: dict[str, Any] = LORA | {"dora": True, "rslora": True, "dropout": 0.1}

World = tuple[Path, Path, dict[str, list[str]]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("adapters")
    return (
        save_model(root / "model"),
        save_model(root / "tied", tied=True),
        save_bins(root / "bins", {"a": [10, 8], "b": [12, 9]}),
    )


def made(root: Path, model: Path, world: World, new: bool = False, **changes: Any) -> Spec:
    values = parameters(**{"tokens": "12 rows", "optimizer": {"lr": 1e-2}} | changes)
    return spec(root, model, world[2], values, new_rows=NEW_ROWS if new else None)


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        result: Tensor = model.eval()(IDS).logits
    return result


def loaded(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def weights(folder: str | Path) -> dict[str, Tensor]:
    return load_file(Path(folder) / "model.safetensors")


@pytest.mark.parametrize(
    ("tied", "new", "adapter"),
    [
        (True, True, LORA),
        (False, True, EVERYTHING | {"targets": ["q_proj", "mlp.up_proj"]}),
        (True, True, LORA | {"embeddings": "new-rows"}),
        (False, False, LORA | {"targets": ["layers.1.self_attn.v_proj"]}),
    ],
    ids=["tied-grown", "dora-some", "new-rows", "one-module"],
)
def test_merge_equals_the_adapter_and_frozen_weights_keep_their_bits(
    tied: bool, new: bool, adapter: dict[str, Any], world: World, tmp_path: Path
) -> None:
    model = world[1] if tied else world[0]
    phase = Phase(made(tmp_path, model, world, new, adapter=adapter))
    statistics = phase.train()
    output = Path(phase.spec.output)
    trained = logits(phase.language_model)
    merged = loaded(output / "checkpoint")
    assert not torch.allclose(trained, logits(loaded(model)), atol=1e-2)
    assert torch.allclose(logits(merged), trained, atol=1e-5)
    beside = PeftModel.from_pretrained(loaded(model), output / "adapter")
    assert torch.allclose(logits(beside), trained, atol=1e-5)
    assert (merged.lm_head.weight is merged.model.embed_tokens.weight) == tied

    before, after = weights(model), weights(output / "checkpoint")
    assert before.keys() == after.keys()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    targets = adapter.get("targets", ["proj"])
    adapted = {name for name in before if any(f"{target}" in name for target in targets)}
    matrices = {"model.embed_tokens.weight"} | (set() if tied else {"lm_head.weight"})
    assert changed == adapted | (matrices if new else set())
    assert statistics["parameters"] == sum(tensor.numel() for tensor in before.values())
    if adapter.get("embeddings") == "new-rows":
        name, (first, last) = "model.embed_tokens.weight", NEW_ROWS
        assert torch.equal(before[name][:first], after[name][:first])
        assert not torch.isclose(before[name][first:last], after[name][first:last]).all(1).any()


def test_qlora_merges_into_the_dequantised_base(world: World, tmp_path: Path) -> None:
    model, _, _ = world
    adapter = {"kind": "qlora", "r": 4}
    phase = Phase(
        made(tmp_path, model, world, True, adapter=adapter, optimizer={"name": "adamw-8bit"})
    )
    phase.train()
    output = Path(phase.spec.output)
    before, after = weights(model), weights(output / "checkpoint")
    assert torch.allclose(
        logits(loaded(output / "checkpoint")), logits(phase.language_model), atol=1e-5
    )
    # the same by hand: the base in 4 bits, dequantised, as a plain model under PEFT's adapter
    base = loaded(model)
    quantise(base, torch.device("cpu"), torch.float32)
    plain = {name: weight.own() for name, weight in plain_weights(base).items()}
    lost = [name for name in plain if not torch.equal(plain[name], before[name])]
    assert all("proj" in name for name in lost) and lost
    dequantised_base = loaded(model)
    dequantised_base.load_state_dict(plain)
    with_adapter = PeftModel.from_pretrained(dequantised_base, output / "adapter")
    assert torch.allclose(logits(with_adapter), logits(phase.language_model), atol=1e-5)
    for name in before:
        if "norm" in name:
            assert torch.equal(before[name], after[name])


def test_4_bit_layers_keep_their_bias(tmp_path: Path, world: World) -> None:
    """bitsandbytes narrows a bias to the type of products in place; frozen means as it was."""
    model = save_model(tmp_path / "model", attention_bias=True)
    state = weights(model)
    for name in [name for name in state if name.endswith("bias")]:
        state[name] = torch.randn(state[name].shape)
    save_file(state, model / "model.safetensors", metadata={"format": "pt"})
    adapter = {"kind": "qlora", "r": 2}
    phase = Phase(made(tmp_path / "run", model, world, adapter=adapter, precision="bf16"))
    phase.train()
    after = weights(Path(phase.spec.output) / "checkpoint")
    for name, tensor in state.items():
        if name.endswith("bias") or "norm" in name or "embed" in name:
            assert torch.equal(after[name], tensor), name
    layer = phase.language_model.model.layers[0].self_attn.q_proj.base_layer
    assert (dequantised(layer) - state["model.layers.0.self_attn.q_proj.weight"]).abs().max() > 0


@pytest.mark.parametrize(
    "adapter", [EVERYTHING, {"kind": "qlora", "r": 2, "dropout": 0.1}], ids=["lora", "qlora"]
)
def test_stopped_and_resumed_gives_the_same_bytes(
    adapter: dict[str, Any], world: World, tmp_path: Path
) -> None:
    options = {
        "adapter": adapter,
        "tokens": "24 rows",
        "checkpoint_every": "4 rows",
        "recompute": "full",
    }
    straight = made(tmp_path / "straight", world[1], world, True, **options)
    Phase(straight).train()
    stopped = made(tmp_path / "stopped", world[1], world, True, **options)
    with pytest.raises(Interrupted):
        Phase(stopped).train(stop=stop_after(9))
    held = Path(stopped.scratch) / "checkpoints"
    newest = sorted(held.iterdir())[-1]
    stored = load_file(newest / "rank-00000.safetensors")
    assert any("lora_A" in name for name in stored)
    assert not [name for name in stored if "norm" in name or "base_layer" in name]
    resumed = Phase(stopped)
    assert resumed.resumed
    resumed.train()
    assert files(straight.output) == files(stopped.output)


def test_the_next_phase_begins_from_merged_weights_with_a_fresh_adapter(
    world: World, tmp_path: Path
) -> None:
    first = made(tmp_path / "first", world[1], world, True, adapter=LORA)
    Phase(first).train()
    output = Path(first.output)
    moments = load_file(output / "state/optimizer.safetensors")
    assert {name.split("/", 1)[1] for name in moments} == {"model.embed_tokens.weight"}
    for name, adapter in (("lora", LORA), ("all", None)):
        values = parameters(tokens="12 rows", adapter=adapter)
        following = spec(
            tmp_path / name, output / "checkpoint", world[2], values, state=str(output / "state")
        )
        phase = Phase(following)
        assert torch.allclose(
            logits(phase.language_model), logits(loaded(output / "checkpoint")), atol=1e-6
        )
        fresh = set(phase.optimizer.fresh)
        assert "model.embed_tokens.weight" not in fresh
        assert fresh and all(("lora" in key) == (name == "lora") for key in fresh)
        phase.train()


def test_16_bit_frozen_weights_change_no_result(world: World, tmp_path: Path) -> None:
    """With bf16 compute, layers stored in bf16 are held so; the same losses as held in float32."""
    narrow = tmp_path / "narrow"
    shutil.copytree(world[1], narrow)
    state = {name: tensor.bfloat16() for name, tensor in weights(world[1]).items()}
    save_file(state, narrow / "model.safetensors", metadata={"format": "pt"})
    wide = tmp_path / "wide"
    shutil.copytree(narrow, wide)
    widened = {name: tensor.float() for name, tensor in state.items()}
    save_file(widened, wide / "model.safetensors", metadata={"format": "pt"})
    results = []
    for model in (narrow, wide):
        phase = Phase(
            made(tmp_path / f"run-{model.name}", model, world, adapter=LORA, precision="bf16")
        )
        steps: list[Any] = []
        phase.train(steps.append)
        held = phase.language_model.model.layers[0].mlp.up_proj.base_layer.weight.dtype
        assert held == (torch.bfloat16 if model is narrow else torch.float32)
        results.append(
            ([step["loss"] for step in steps], weights(phase.spec.output + "/checkpoint"))
        )
    assert results[0][0] == results[1][0]
    assert all(torch.equal(tensor, results[1][1][name]) for name, tensor in results[0][1].items())
    assert all(tensor.dtype == torch.float32 for tensor in results[0][1].values())


@pytest.mark.parametrize(
    ("adapter", "new", "says"),
    [
        ({"targets": ["q_prj"]}, False, "'q_prj' matches no module .*did you mean q_proj"),
        ({"targets": ["q_proj", "lm_head"]}, False, "lm_head.*adapter.embeddings: full"),
        ({"targets": ["self_attn"]}, False, "'self_attn' is a LlamaAttention, not a linear"),
        ({"targets": ["input_layernorm"]}, False, "LlamaRMSNorm.*use all-linear.*down_proj"),
        ({"embeddings": "frozen"}, True, "would never be trained; set embeddings: full"),
        ({"embeddings": "new-rows"}, False, "added no tokens"),
    ],
)
def test_what_does_not_fit_is_refused_before_weights_are_loaded(
    adapter: dict[str, Any], new: bool, says: str, world: World, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(world[0], model)
    (model / "model.safetensors").write_bytes(b"not read")
    with pytest.raises(ValueError, match=says):
        Phase(made(tmp_path, model, world, new, adapter=LORA | adapter))


def test_missing_packages_are_named(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(AdapterError, match=r"needs bitsandbytes.*puna\[quantized\]"):
        Phase(made(tmp_path, world[0], world, adapter={"kind": "qlora"}))
    with pytest.raises(ValueError, match=r"adamw-8bit needs bitsandbytes.*puna\[quantized\]"):
        Phase(made(tmp_path, world[0], world, optimizer={"name": "adamw-8bit"}))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(AdapterError, match=r"needs peft.*puna\[adapters\]"):
        Phase(made(tmp_path, world[0], world, adapter=LORA))


def test_saved_configuration_is_pefts(world: World, tmp_path: Path) -> None:
    phase = Phase(made(tmp_path, world[1], world, True, adapter=EVERYTHING | {"alpha": 8}))
    phase.train()
    config = json.loads((Path(phase.spec.output) / "adapter/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 8, 0.1)
    assert config["use_dora"] and config["use_rslora"] and config["ensure_weight_tying"]
    assert sorted(config["modules_to_save"]) == ["embed_tokens", "lm_head"]
    assert "q_proj" in config["target_modules"] and len(config["target_modules"]) == 7


def test_a_section_s_adapter_is_for_all_phases_but_those_with_their_own() -> None:
    section = TrainingSection.model_validate(
        {
            "batch": "64 rows",
            "adapter": {"r": 8},
            "phases": [
                {"name": "grow", "tokens": "100 rows", "adapter": None, "trainable": "embeddings"},
                {"name": "usual", "tokens": "100 rows"},
                {"name": "own", "tokens": "100 rows", "adapter": {"kind": "qlora"}},
            ],
        }
    )
    nodes = [section.node(name, 32) for name in ("grow", "usual", "own")]
    assert [node.adapter and (node.adapter.kind, node.adapter.r) for node in nodes] == [
        None,
        ("lora", 8),
        ("qlora", 16),
    ]
    assert len({str(node.identity()) for node in nodes}) == 3
    with pytest.raises(ValueError, match="'one': trainable: embeddings leaves the layers alone"):
        TrainingSection.model_validate(
            {
                "batch": "64 rows",
                "adapter": {"r": 8},
                "phases": [{"name": "one", "tokens": "9 rows", "trainable": "embeddings"}],
            }
        )


SIZES: dict[str, int] = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32}
OTHERS: dict[str, Any] = {
    "gpt2": GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "mixtral": MixtralConfig(
        vocab_size=VOCABULARY,
        intermediate_size=32,
        num_key_value_heads=2,
        num_local_experts=4,
        **SIZES,
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_families(
    name: str, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Weights stored transposed (GPT-2), and under names that differ from those in memory, with
    experts that are no linear modules (Mixtral).
    """
    config = OTHERS[name]
    config.bos_token_id, config.eos_token_id = 1, 2
    torch.manual_seed(0)
    model = tmp_path / "model"
    AutoModelForCausalLM.from_config(config).save_pretrained(model)
    for file in world[0].glob("token*"):
        shutil.copy(file, model)
    adapter = LORA | {"dora": name == "gpt2"}
    phase = Phase(made(tmp_path / "run", model, world, True, adapter=adapter))
    phase.train()
    output = Path(phase.spec.output)
    trained = logits(phase.language_model)
    assert torch.allclose(logits(loaded(output / "checkpoint")), trained, atol=1e-5)
    beside = PeftModel.from_pretrained(loaded(model), output / "adapter")
    assert torch.allclose(logits(beside), trained, atol=1e-5)
    assert not torch.allclose(trained, logits(loaded(model)), atol=1e-2)
    assert ("without an adapter" in caplog.text) == (name == "mixtral")


def test_a_device_or_precision_without_4_bit_products_is_refused(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AdapterError, match=r"does not compute in 4 bits on meta.*Set kind: lora"):
        require_quantization(torch.device("meta"))
    with pytest.raises(AdapterError, match="qlora with precision: fp64"):
        Phase(made(tmp_path, world[0], world, adapter={"kind": "qlora"}, precision="fp64"))
    # a kernel that runs, but computes something else
    layer = bitsandbytes.nn.Linear4bit
    usual = layer.forward
    monkeypatch.setattr(layer, "forward", lambda self, x: usual(self, x) * 1.01)
    with pytest.raises(AdapterError, match=r"off those of its dequantised weights|gradients"):
        require_quantization(torch.device("cpu"))


@pytest.mark.parametrize("changes", [{"precision": "fp16"}, {"devices": {"offload": "optimizer"}}])
def test_other_ways_to_train(changes: dict[str, Any], world: World, tmp_path: Path) -> None:
    phase = Phase(made(tmp_path, world[1], world, True, adapter=LORA, **changes))
    steps: list[Any] = []
    phase.train(steps.append)
    assert not [step["skipped"] for step in steps if step["skipped"]] or "precision" in changes
    merged = logits(loaded(Path(phase.spec.output) / "checkpoint"))
    assert torch.allclose(merged, logits(phase.language_model), atol=1e-5)
    assert not torch.allclose(merged, logits(loaded(world[1])), atol=1e-3)
