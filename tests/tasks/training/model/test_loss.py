"""The chunked head and cross entropy against the plain one, and the document mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from tasks.documents.rows import Rows
from tasks.training.model.heads import Head
from tasks.training.model.loss import LossModel, head_cross_entropy
from tests.tasks.training.toys import save_bin, save_model


def problem(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(300, 16, generator=draw, dtype=dtype, requires_grad=True)
    weight = torch.randn(70, 16, generator=draw, dtype=dtype, requires_grad=True)
    labels = torch.randint(0, 70, (300,), generator=draw)
    labels[::7] = -100
    return hidden, weight, labels


@pytest.mark.parametrize("chunk_logits", [1, 70 * 64, 70 * 77, 10**9])
def test_chunked_equals_plain(chunk_logits: int) -> None:
    hidden, weight, labels = problem(torch.float64)
    plain = functional.cross_entropy(hidden @ weight.T, labels, reduction="sum")
    expected = torch.autograd.grad(3 * plain, (hidden, weight))
    total, losses = head_cross_entropy(hidden, weight, labels, chunk_logits)
    got = torch.autograd.grad(3 * total, (hidden, weight))
    assert torch.allclose(total, plain, rtol=1e-13)
    assert torch.allclose(
        losses, functional.cross_entropy(hidden @ weight.T, labels, reduction="none"), atol=1e-12
    )
    for ours, theirs in zip(got, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("head", [Head(0.125), Head(1.0, 1.5), Head(3.0, 2.0)])
def test_scale_cap_and_bias_equal_plain(head: Head) -> None:
    hidden, weight, labels = problem(torch.float64)
    bias = torch.randn(70, dtype=torch.float64, requires_grad=True)
    logits = head.logits(hidden @ weight.T + bias)
    plain = functional.cross_entropy(logits, labels, reduction="sum")
    expected = torch.autograd.grad(plain, (hidden, weight, bias))
    total, _ = head_cross_entropy(hidden, weight, labels, 1, bias_V=bias, head=head)
    assert torch.allclose(total, plain, rtol=1e-13)
    for ours, theirs in zip(
        torch.autograd.grad(total, (hidden, weight, bias)), expected, strict=True
    ):
        assert torch.allclose(ours, theirs, rtol=1e-11, atol=1e-12)


def test_what_ignored_positions_hold_stays_out() -> None:
    hidden, weight, labels = problem(torch.float32)
    expected = torch.autograd.grad(head_cross_entropy(hidden, weight, labels)[0], (hidden, weight))
    poisoned = hidden.detach().clone()
    poisoned[::14], poisoned[7::14] = float("nan"), float("inf")
    poisoned.requires_grad_()
    total, losses = head_cross_entropy(poisoned, weight, labels)
    assert losses.isfinite().all()
    got = torch.autograd.grad(total, (poisoned, weight))
    for ours, theirs in zip(got, expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cast", [False, True])
def test_the_weight_gradient_of_16_bits_is_as_good_in_many_chunks_as_in_one(
    dtype: torch.dtype, cast: bool
) -> None:
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(64 * 64, 32, generator=draw)
    weight = torch.randn(40, 32, generator=draw)
    labels = torch.randint(0, 40, (64 * 64,), generator=draw)

    def gradient(dtype: torch.dtype, chunk_logits: int, cast_to: torch.dtype | None) -> Tensor:
        leaf = weight.to(dtype).requires_grad_()
        with torch.autocast("cpu", dtype=cast_to, enabled=cast_to is not None):
            total, _ = head_cross_entropy(hidden.to(dtype), leaf, labels, chunk_logits)
        found = torch.autograd.grad(total, leaf)[0]
        assert found.dtype == dtype
        return found.double()

    exact = gradient(torch.float64, 1, None)

    def error(chunk_logits: int) -> float:
        found = gradient(torch.float32 if cast else dtype, chunk_logits, dtype if cast else None)
        return float((found - exact).norm() / exact.norm())

    many, one = error(1), error(10**9)
    # Rounding each chunk's sum instead, the error grows with the root of the number of chunks.
    assert many < max(1.5 * one, 4e-3)
    assert many < 1e-2


def test_only_the_gradients_asked_for() -> None:
    hidden, weight, labels = problem(torch.float32)
    (only,) = torch.autograd.grad(head_cross_entropy(hidden, weight.detach(), labels)[0], hidden)
    assert torch.equal(
        only, torch.autograd.grad(head_cross_entropy(hidden, weight, labels)[0], hidden)[0]
    )
    with torch.no_grad():
        assert not head_cross_entropy(hidden, weight, labels)[0].requires_grad


def test_logits_of_the_whole_batch_never_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    plain = torch.logsumexp

    def watching(logits: Tensor, *args: Any, **options: Any) -> Tensor:
        seen.append(logits.numel())
        return plain(logits, *args, **options)

    monkeypatch.setattr(torch, "logsumexp", watching)
    hidden, weight, labels = problem(torch.float32)
    head_cross_entropy(hidden, weight, labels, 70 * 64)
    assert max(seen) == 70 * 64
    assert sum(seen) == 70 * 300


@pytest.mark.parametrize("tied", [False, True])
def test_loss_model_gives_the_gradients_of_transformers_own_loss(
    tmp_path: Path, tied: bool
) -> None:
    folder = save_model(tmp_path / "model", tied=tied)
    rows = Rows([save_bin(tmp_path / "bin", 5, seed=1)]).batch(range(5))
    ids, labels, positions = (
        torch.from_numpy(rows[n]) for n in ("input_ids", "shift_labels", "position_ids")
    )
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
    functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="mean").backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    total, losses = LossModel(model)(ids, labels, positions)
    (total / int((labels != -100).sum())).backward()
    assert losses.shape == (5,)
    assert torch.allclose(losses.sum(), total)
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], rtol=1e-9, atol=1e-12), name


def test_packed_documents_have_the_loss_they_have_alone(tmp_path: Path) -> None:
    model = LossModel(
        AutoModelForCausalLM.from_pretrained(save_model(tmp_path / "model"), dtype=torch.float64)
    )
    rows = Rows([save_bin(tmp_path / "bin", 3, seed=1)])
    batch = {name: torch.from_numpy(values) for name, values in rows.batch(range(3)).items()}
    with torch.no_grad():
        packed, _ = model(batch["input_ids"], batch["shift_labels"], batch["position_ids"])
        alone = torch.zeros((), dtype=torch.float64)
        for row in range(3):
            for span in rows.provenance(row):
                part = slice(span.start, span.start + span.length)
                ids, labels = (
                    batch["input_ids"][row : row + 1, part],
                    batch["shift_labels"][row : row + 1, part],
                )
                alone += model(ids, labels, torch.arange(span.length)[None])[0]
    assert torch.allclose(packed, alone, rtol=1e-12)
