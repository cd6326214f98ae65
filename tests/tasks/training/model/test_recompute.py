"""Recomputed and compiled layers give the losses and gradients of plain ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from tasks.training.model import recompute
from tasks.training.model.layers import decoder_layers
from tasks.training.model.loss import LossModel
from tasks.training.model.recompute import prepare
from tests.tasks.training.model.test_attention import batch_of
from tests.tasks.training.toys import parameters, save_model


def gradients(tmp_path: Path, **changes: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
    """Loss, gradients, and bytes that autograd keeps for the backward pass (without those that
    `selective` keeps itself).
    """
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", attn_implementation="sdpa")
    assert prepare(model, parameters(**changes)) == []
    model.train()
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total, _ = LossModel(model)(*torch.load(tmp_path / "batch.pt"))
    total.backward()
    return total.detach(), {n: p.grad for n, p in model.named_parameters()}, sum(kept.values())


@pytest.fixture
def world(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", attention_dropout=0.2)
    torch.save(batch_of(tmp_path), tmp_path / "batch.pt")
    return tmp_path


def test_recomputing_gives_the_same_bits_from_less_memory(world: Path) -> None:
    loss, expected, memory = gradients(world)
    for kind in ("selective", "full"):
        other, got, less = gradients(world, recompute=kind)
        assert torch.equal(other, loss)
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[name], expected[name]) for name in got), kind
        assert less < memory / 2


def test_selective_keeps_matrix_products(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        products = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            self.products += func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
            return func(*args, **(kwargs or {}))

    counts = {}
    for kind in ("none", "selective", "full"):
        with Counting() as counting:
            gradients(world, recompute=kind)
        counts[kind] = counting.products
    assert counts["none"] == counts["selective"]
    assert counts["full"] == counts["none"] + 6 * 2
    # Of the seven matrices of two layers all again but the last, whose result is not needed.


def test_compiled_layers_give_the_same_loss(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The code generator takes minutes; `tests/benchmarks/gpu_training.py --toy` runs it.
    compile_layer = torch.nn.Module.compile
    monkeypatch.setattr(recompute, "compiler_fault", lambda: "")
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda layer: compile_layer(layer, backend="aot_eager")
    )
    save_model(world / "model")
    loss, expected, _ = gradients(world)
    other, got, _ = gradients(world, compile=True, recompute="selective")
    assert other.item() == pytest.approx(loss.item(), rel=1e-6)
    for name, gradient in got.items():
        assert torch.allclose(gradient, expected[name], rtol=1e-4, atol=1e-5), name


def test_without_a_compiler_layers_run_uncompiled_with_a_word(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recompute, "compiler_fault", lambda: "no C++ compiler was found")
    model = AutoModelForCausalLM.from_pretrained(world / "model")
    notes = prepare(model, parameters(compile=True))
    assert notes == [
        "compile: true, but torch.compile does not work here: no C++ compiler was found"
    ]
    assert all(layer._compiled_call_impl is None for layer in decoder_layers(model))


def test_layers_are_found_by_class_and_refused_where_there_are_none(world: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(world / "model")
    assert decoder_layers(model) == list(model.model.layers)
    gpt2 = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=8, n_embd=8, n_layer=3, n_head=2))
    assert decoder_layers(gpt2) == list(gpt2.transformer.h)
    with pytest.raises(ValueError, match="no list of decoder layers"):
        decoder_layers(torch.nn.Linear(2, 2))
