"""Attention by document lengths, with a plain stand-in for the CUDA kernel of torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from tasks.documents.rows import Rows
from tasks.training.model import attention
from tasks.training.model.attention import (
    AttentionError,
    choose_attention,
    document_edges,
    plain_attention,
    varlen_kernel,
)
from tasks.training.model.loss import LossModel
from tasks.training.model.numerics import PrecisionError, autocast, require_precision
from tasks.training.model.probe import DocumentLeak, probe, probe_loss
from tests.tasks.training.toys import VOCABULARY, save_bin, save_model

CUDA = torch.device("cuda")
CPU = torch.device("cpu")


def one_document_at_a_time(
    query: Tensor, key: Tensor, value: Tensor, edges: Tensor, *, causal: bool, scale: float | None
) -> Tensor:
    """What torch's kernel computes; query (N, H, d), edges of documents."""
    groups = query.shape[1] // key.shape[1]
    outputs = []
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if start == end:
            continue
        q, k, v = (states[start:end].transpose(0, 1) for states in (query, key, value))
        outputs.append(
            functional.scaled_dot_product_attention(
                q, k.repeat_interleave(groups, 0), v.repeat_interleave(groups, 0),
                is_causal=causal, scale=scale,
            ).transpose(0, 1)
        )  # fmt: skip
    return torch.cat(outputs)


def of_torch_2_10(
    query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int,
    max_k: int, is_causal: bool = False, return_aux: Any = None, scale: float | None = None,
) -> Tensor:  # fmt: skip
    assert key.shape[1] == query.shape[1]  # no groups
    return one_document_at_a_time(query, key, value, cu_seq_q, causal=is_causal, scale=scale)


def of_torch_2_13(
    query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int,
    max_k: int, *, return_aux: Any = None, scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1), enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    assert enable_gqa or key.shape[1] == query.shape[1]
    assert int((cu_seq_q[1:] - cu_seq_q[:-1]).max()) <= max_q
    return one_document_at_a_time(
        query, key, value, cu_seq_q, causal=window_size == (-1, 0), scale=scale
    )


def without_scale(
    query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int,
    max_k: int, is_causal: bool = False,
) -> Tensor:  # fmt: skip
    return of_torch_2_10(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal)


def unmasked(*states: Any, window_size: tuple[int, int] = (-1, -1), **options: Any) -> Tensor:
    """A kernel that knows the argument and ignores it."""
    query, key, value, edges = states[:4]
    return one_document_at_a_time(query, key, value, edges, causal=False, scale=None)


@pytest.fixture
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Lets the CPU pass for a device with kernels in any precision, with this `varlen_attn`."""

    def use(kernel: Any) -> None:
        monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
        monkeypatch.setattr(attention, "_unusable_on", lambda device, dtype: "")

    return use


def loaded(tmp_path: Path, **config: Any) -> Any:
    folder = save_model(tmp_path / "model", **config)
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa")


def batch_of(tmp_path: Path) -> tuple[Tensor, Tensor, Tensor]:
    rows = Rows([save_bin(tmp_path / "bin", 5, seed=1)]).batch(range(5))
    ids, labels, positions = (
        torch.from_numpy(rows[n]) for n in ("input_ids", "shift_labels", "position_ids")
    )
    return ids, labels, positions


def test_document_edges() -> None:
    positions = torch.tensor([[0, 1, 2, 0, 0], [0, 1, 0, 1, 2]])
    edges = document_edges(positions)
    assert edges.dtype == torch.int32
    assert edges.tolist() == [0, 3, 4, 5, 7] + [10] * 60
    assert document_edges(torch.zeros(1, 64, dtype=torch.long)).tolist() == [*range(64), 64]


@pytest.mark.parametrize("kernel", [of_torch_2_10, of_torch_2_13, without_scale])
@pytest.mark.parametrize("config", [{}, {"num_key_value_heads": 4}, {"head_dim": 16}])
def test_varlen_gives_the_loss_and_gradients_of_sdpa(
    tmp_path: Path, as_on_cuda: Any, kernel: Any, config: dict[str, Any]
) -> None:
    as_on_cuda(kernel)
    model, batch = loaded(tmp_path, **config), batch_of(tmp_path)
    losses = LossModel(model)

    def gradients() -> tuple[float, dict[str, Tensor]]:
        model.zero_grad(set_to_none=True)
        total, _ = losses(*batch)
        total.backward()
        return total.item(), {name: p.grad.clone() for name, p in model.named_parameters()}

    expected = gradients()
    chosen = choose_attention(model, "auto", CPU, torch.bfloat16)
    assert (chosen.kind, model.config._attn_implementation) == ("varlen", attention.VARLEN)
    assert chosen.notes == ("attention flash: flash-attn is not installed",)
    got = gradients()
    assert got[0] == pytest.approx(expected[0], rel=1e-6)
    for name, gradient in got[1].items():
        assert torch.allclose(gradient, expected[1][name], rtol=1e-4, atol=1e-4), name
    assert probe(LossModel(model), VOCABULARY, CPU, autocast=partial(autocast, "bf16")) <= 1e-2
    assert (
        probe_loss(losses, VOCABULARY, CPU) < 1e-5
    )  # by way of sdpa, with varlen set again afterwards
    assert model.config._attn_implementation == attention.VARLEN


def test_calls_without_edges_are_refused_and_plain_attention_makes_them(
    tmp_path: Path, as_on_cuda: Any
) -> None:
    as_on_cuda(of_torch_2_13)
    model = loaded(tmp_path)
    choose_attention(model, "varlen", CPU, torch.bfloat16)
    ids = torch.arange(6)[None]
    with pytest.raises(AttentionError, match="plain_attention"):
        model(input_ids=ids)
    with plain_attention(model):
        assert model.generate(ids, max_new_tokens=3, do_sample=False).shape == (1, 9)
    with pytest.raises(AttentionError, match="plain_attention"):
        model(input_ids=ids)


def test_a_kernel_that_computes_something_else_is_not_used(tmp_path: Path, as_on_cuda: Any) -> None:
    as_on_cuda(unmasked)
    model = loaded(tmp_path, initializer_range=0.5)
    chosen = choose_attention(model, "auto", CPU, torch.bfloat16)
    assert (chosen.kind, model.config._attn_implementation) == ("sdpa", "sdpa")
    assert "differ by" in chosen.notes[1]
    with pytest.raises(AttentionError, match=r"differ by .*Use attention: auto, or sdpa"):
        choose_attention(model, "varlen", CPU, torch.bfloat16)


def test_what_only_sdpa_computes_stays_with_sdpa(tmp_path: Path, as_on_cuda: Any) -> None:
    assert choose_attention(loaded(tmp_path), "auto", CPU, torch.bfloat16).kind == "sdpa"
    with pytest.raises(AttentionError, match="runs on CUDA devices, not on cpu"):
        choose_attention(loaded(tmp_path), "flash", CPU, torch.bfloat16)
    as_on_cuda(of_torch_2_13)
    for key, value in {
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
        "attn_logit_softcapping": 50.0,
        "attention_dropout": 0.1,
        "head_dim": 512,
    }.items():
        model = loaded(tmp_path)
        setattr(model.config, key, value)
        chosen = choose_attention(model, "auto", CPU, torch.bfloat16)
        assert chosen.kind == "sdpa", key
        assert str(value if not isinstance(value, list) else "sliding") in chosen.notes[0]
    as_on_cuda(lambda query, key, value: query)
    assert "no known argument for causal masks" in str(varlen_kernel())


def test_32_bits_stay_with_sdpa_on_gpus() -> None:
    assert "set precision: bf16" in attention._unusable_on(CUDA, torch.float32)
    assert attention._unusable_on(CUDA, torch.bfloat16) == ""


def test_precisions_that_a_device_lacks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    with pytest.raises(PrecisionError, match=r"Tesla T4 has no bfloat16: use fp16"):
        require_precision("bf16", CUDA)
    require_precision("fp16", CUDA)
    with pytest.raises(PrecisionError, match="fp16 on 2 ranks"):
        require_precision("fp16", CPU, 2)


def test_a_model_whose_layers_ignore_the_edges_fails_the_probe(
    tmp_path: Path, as_on_cuda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_on_cuda(of_torch_2_10)
    model = loaded(tmp_path)
    choose_attention(model, "varlen", CPU, torch.bfloat16)
    monkeypatch.setattr(
        attention, "document_edges", lambda positions: torch.tensor([0, positions.numel()])
    )
    with pytest.raises(DocumentLeak):
        probe(LossModel(model), VOCABULARY, CPU)
