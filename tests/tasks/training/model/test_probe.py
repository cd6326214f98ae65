"""The start-up probes: leaks between documents, looks ahead, heads of every kind."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    CohereConfig,
    FalconH1Config,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    HyperCLOVAXConfig,
    LlamaConfig,
    MixtralConfig,
    Phi3Config,
    PhiConfig,
)

from tasks.training.model.heads import UnknownHead
from tasks.training.model.loss import IGNORE_INDEX, LossModel
from tasks.training.model.numerics import autocast
from tasks.training.model.probe import DocumentLeak, probe, probe_loss
from tests.tasks.training.toys import VOCABULARY, save_model

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def built(config: Any, *, scale: float = 20) -> Any:
    """A random model of a configuration, in float64, with weights large enough to tell heads."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).double()
    if config.model_type == "mixtral":  # grouped products have no float64
        model.set_experts_implementation("eager")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
            elif parameter.abs().max() == 0:
                parameter.normal_()  # a bias of zeros would tell nothing
    return model.eval()


HEADS: dict[str, Any] = {
    "granite divides": GraniteConfig(**SIZES, logits_scaling=8.0, embedding_multiplier=3.0),
    "hyperclovax multiplies": HyperCLOVAXConfig(**SIZES, logits_scaling=0.2),
    "cohere": CohereConfig(**SIZES, logit_scale=0.0625),
    "cohere2": Cohere2Config(**SIZES, logit_scale=0.3),
    "gemma2 caps": Gemma2Config(**SIZES, final_logit_softcapping=2.0),
    "phi has a bias": PhiConfig(**{k: v for k, v in SIZES.items() if k != "head_dim"}),
    "neox": GPTNeoXConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=128,
    ),
    "gpt2": GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=128),
    "phi3": Phi3Config(**SIZES),
    "mixtral": MixtralConfig(**SIZES, num_local_experts=2),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADS)
def test_loss_and_gradients_are_those_of_the_models_own_forward(kind: str) -> None:
    model = built(HEADS[kind])
    ids = torch.randint(0, VOCABULARY, (3, 20), generator=torch.Generator().manual_seed(1))
    labels = torch.where(torch.rand(ids.shape) < 0.2, IGNORE_INDEX, ids)
    output = model(input_ids=ids, labels=labels, use_cache=False)
    output.loss.backward()
    expected = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    ours = LossModel(model)
    targets = functional.pad(labels[:, 1:], (0, 1), value=IGNORE_INDEX)
    total, _ = ours(ids, targets, torch.arange(20).expand(3, -1))
    loss = total / (targets != IGNORE_INDEX).sum()
    loss.backward()
    # Norms and angles inside are float32, and some models compute their own loss in float32.
    assert loss.item() == pytest.approx(output.loss.item(), rel=1e-6)
    largest = max(float(grad.abs().max()) for grad in expected.values())
    for name, parameter in model.named_parameters():
        if name in expected:
            assert torch.allclose(parameter.grad, expected[name], rtol=1e-4, atol=2e-6 * largest), (
                name
            )
    assert probe_loss(ours, VOCABULARY, CPU) < 1e-6


@pytest.mark.parametrize("kind", ["granite divides", "cohere", "gemma2 caps"])
def test_a_head_computed_as_llamas_is_caught(kind: str) -> None:
    ours = LossModel(built(HEADS[kind], scale=1))
    ours.head = LossModel(built(LlamaConfig(**SIZES))).head
    with pytest.raises(UnknownHead, match=r"change.*logit.*use a model without this"):
        probe_loss(ours, VOCABULARY, CPU)


def test_a_forward_of_an_unknown_kind_is_caught_by_name() -> None:
    model = built(LlamaConfig(**SIZES, output_multiplier=0.5))
    own = model.lm_head.forward
    model.lm_head.forward = lambda hidden: own(hidden) * model.config.output_multiplier
    with pytest.raises(UnknownHead, match=r"output_multiplier: 0\.5"):
        probe_loss(LossModel(model), VOCABULARY, CPU)


def test_a_loss_with_a_term_of_its_own_is_caught() -> None:
    with pytest.raises(UnknownHead, match="output_router_logits is true"):
        LossModel(built(MixtralConfig(**SIZES, num_local_experts=2, output_router_logits=True)))
    model = built(LlamaConfig(**SIZES))
    forward = model.forward

    def with_z_loss(**inputs: Any) -> Any:
        output = forward(**inputs)
        output.loss = output.loss + 1e-2 * output.logits.logsumexp(-1).square().mean()
        return output

    model.forward = with_z_loss
    with pytest.raises(UnknownHead, match="adds a term of its own"):
        probe_loss(LossModel(model), VOCABULARY, CPU)


def test_a_head_that_is_no_linear_layer_is_refused() -> None:
    class Scaled(nn.Linear):
        def forward(self, hidden: Tensor) -> Tensor:
            return super().forward(hidden) * 2

    model = built(LlamaConfig(**SIZES))
    model.set_output_embeddings(Scaled(32, VOCABULARY, bias=False))
    with pytest.raises(UnknownHead, match="head of type Scaled"):
        LossModel(model)


def test_falcon_h1_leaks_its_state_and_is_refused() -> None:
    config = FalconH1Config(
        **{k: v for k, v in SIZES.items() if k != "head_dim"}, lm_head_multiplier=0.5,
        mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8, mamba_chunk_size=8,
    )  # fmt: skip
    model = built(config, scale=3).float()
    assert probe_loss(LossModel(model), VOCABULARY, CPU) < 1e-4
    with pytest.raises(DocumentLeak, match="document_mask: false"):
        probe(LossModel(model), VOCABULARY, CPU)
    probe(LossModel(model), VOCABULARY, CPU, document_mask=False)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_probe_passes_transformers_with_dropout_in_the_precision_of_training(
    tmp_path: Path, precision: Any
) -> None:
    folder = save_model(tmp_path / "model", attention_dropout=0.3)
    model = AutoModelForCausalLM.from_pretrained(folder)
    state = torch.get_rng_state()
    losses = LossModel(model).eval()
    assert probe(losses, VOCABULARY, CPU, autocast=partial(autocast, precision)) <= 1e-5
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training


def test_probe_catches_a_leak_that_is_in_one_mode_only(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(save_model(tmp_path / "model"))
    forward = model.base_model.forward

    def leaking(position_ids: Tensor, **inputs: Any) -> Any:
        """Ignores in train mode that positions restart, as with a cache or a mask of ones."""
        if model.training:
            position_ids = torch.arange(position_ids.shape[1]).expand_as(position_ids)
        return forward(position_ids=position_ids, **inputs)

    model.base_model.forward = leaking
    with pytest.raises(DocumentLeak, match="ignores document boundaries"):
        probe(LossModel(model), VOCABULARY, CPU)


def test_probe_catches_attention_that_looks_ahead(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(save_model(tmp_path / "model"))
    model.config.is_causal = False
    for layer in model.model.layers:
        layer.self_attn.is_causal = False
    with pytest.raises(DocumentLeak, match="not causal"):
        probe(LossModel(model), VOCABULARY, CPU, document_mask=False)
