"""The chunked head and cross entropy against the plain one, and the document mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from tasks.documents.rows import Rows
from tasks.training.loss import LossModel, head_cross_entropy, step_scale
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
    valid, scale = step_scale([labels])
    assert valid == int((labels != -100).sum())
    total, losses = LossModel(model)(ids, labels, positions)
    (total * scale).backward()
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


def test_no_valid_token_scales_to_nothing() -> None:
    assert step_scale([torch.full((2, 3), -100)]) == (0, 0.0)
    assert step_scale([torch.tensor(np.array([[1, -100]])), torch.tensor([[2, 3]])]) == (3, 1 / 3)
