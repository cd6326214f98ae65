"""Context extension: transformers computes the angles that the papers define."""

from __future__ import annotations

import math
from typing import Any

import pydantic
import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from infra.stage import StageError
from tasks.checkpoints.config_keys import rope_of
from tasks.checkpoints.context import ROPE_FIELDS, ContextLength
from tasks.checkpoints.rope import extended, trained_positions

HEAD = 16
BASE: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "max_position_embeddings": 4096,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
}


def built(rope: dict[str, Any], positions: int = 16_384, **config: Any) -> LlamaRotaryEmbedding:
    """transformers' table of angles for an extended base."""
    made = extended(
        BASE | config, ContextLength.model_validate({"positions": positions, "rope": rope})
    )
    checked = LlamaConfig.from_dict(made)
    checked.validate_rope()
    return LlamaRotaryEmbedding(checked)


@pytest.fixture(autouse=True)
def no_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(message: str, *rest: object) -> None:
        raise AssertionError(message)

    monkeypatch.setattr("transformers.modeling_rope_utils.logger.warning", refuse)


def frequencies(theta: float = 10_000.0) -> torch.Tensor:
    return torch.tensor([theta ** (-2 * i / HEAD) for i in range(HEAD // 2)])


def test_every_rope_type_of_a_llama_is_supported() -> None:
    only_gemma_4 = {"proportional"}
    assert set(ROPE_FIELDS) == {"default", *ROPE_INIT_FUNCTIONS} - only_gemma_4
    with pytest.raises(pydantic.ValidationError, match="'yarn', 'longrope' or 'llama3'"):
        ContextLength.model_validate({"positions": 8, "rope": {"type": "ntk"}})


def test_linear_is_position_interpolation() -> None:
    rope = built({"type": "linear"})
    assert torch.allclose(rope.inv_freq, frequencies() / 4, rtol=1e-6)
    positions = torch.arange(0, 16_384, 4)[None]
    cos_BTD, _ = rope(torch.zeros(1), positions)
    base_BTD, _ = LlamaRotaryEmbedding(LlamaConfig.from_dict(BASE))(torch.zeros(1), positions // 4)
    # The angle of position 4p is the base's of p.
    assert torch.allclose(cos_BTD, base_BTD, atol=1e-3)
    assert torch.allclose(
        built({"type": "linear", "factor": 8}).inv_freq, frequencies() / 8, rtol=1e-6
    )


def test_another_theta() -> None:
    rope = built({"theta": 500_000})
    assert torch.allclose(rope.inv_freq, frequencies(500_000), rtol=1e-6)
    assert torch.equal(
        built({"type": "default"}).inv_freq, built({"type": "default"}, 4096).inv_freq
    )


def test_yarn() -> None:
    rope = built({"type": "yarn"})

    def pair(turns: float) -> float:
        """Number of the pair with so many turns over the trained positions (equation 17)."""
        return HEAD * math.log(4096 / (turns * 2 * math.pi)) / (2 * math.log(10_000))

    low, high = math.floor(pair(32)), math.ceil(pair(1))
    expected = []
    for i, frequency in enumerate(frequencies().tolist()):
        interpolated = min(max((i - low) / (high - low), 0), 1)
        expected.append(frequency / 4 * interpolated + frequency * (1 - interpolated))
    assert torch.allclose(rope.inv_freq, torch.tensor(expected), rtol=1e-5)
    assert rope.attention_scaling == pytest.approx(0.1 * math.log(4) + 1)


def test_llama3() -> None:
    rope = built(
        {"type": "llama3", "factor": 8, "theta": 500_000}, 131_072, max_position_embeddings=8192
    )
    expected = []
    for frequency in frequencies(500_000).tolist():
        wave = 2 * math.pi / frequency
        if wave < 8192 / 4:
            expected.append(frequency)
        elif wave > 8192:
            expected.append(frequency / 8)
        else:
            smooth = (8192 / wave - 1) / (4 - 1)
            expected.append((1 - smooth) * frequency / 8 + smooth * frequency)
    assert torch.allclose(rope.inv_freq, torch.tensor(expected), rtol=1e-5)


def test_longrope() -> None:
    pairs = HEAD // 2
    rope = built({"type": "longrope", "short_factor": [1] * pairs, "long_factor": [2] * pairs})
    assert torch.allclose(rope.inv_freq, frequencies(), rtol=1e-6)
    rope(torch.zeros(1), torch.arange(5000)[None])
    assert torch.allclose(rope.inv_freq, frequencies() / 2, rtol=1e-6)
    with pytest.raises(
        StageError, match="short_factor has 3 numbers, but the base has 8 rotary pairs"
    ):
        built({"type": "longrope", "short_factor": [1] * 3, "long_factor": [2] * 3})


def test_dynamic_stretches_from_the_trained_length() -> None:
    rope = built({"type": "dynamic"})
    assert rope.max_seq_len_cached == 4096
    rope(torch.zeros(1), torch.arange(4096)[None])
    assert torch.allclose(rope.inv_freq, frequencies(), rtol=1e-6)
    rope(torch.zeros(1), torch.arange(16_384)[None])
    theta = 10_000 * (4 * 16_384 / 4096 - 3) ** (HEAD / (HEAD - 2))
    assert torch.allclose(rope.inv_freq, frequencies(theta), rtol=1e-5)


def test_old_configurations_are_read_right() -> None:
    plain = {key: value for key, value in BASE.items() if key != "rope_parameters"}
    old = plain | {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}
    assert rope_of(old) == {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0}
    assert trained_positions(old) == 2048
    made = extended(
        old, ContextLength.model_validate({"positions": 8192, "rope": {"type": "linear"}})
    )
    assert made["rope_parameters"] == {"rope_type": "linear", "rope_theta": 5e5, "factor": 4.0}
    assert made["max_position_embeddings"] == 8192 and not {"rope_scaling", "rope_theta"} & set(
        made
    )
    assert rope_of(plain) == {"rope_type": "default", "rope_theta": 10_000.0}
    assert rope_of(plain | {"rope_scaling": None, "rope_theta": 1e6}) == {
        "rope_type": "default",
        "rope_theta": 1e6,
    }
    llama31 = plain | {
        "max_position_embeddings": 131_072,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "original_max_position_embeddings": 8192,
        },
    }
    assert trained_positions(llama31) == 8192
    assert (
        rope_of({"model_type": "mixtral"})["rope_theta"] == 1e6
    )  # the family's own, where nothing is said
    with pytest.raises(StageError, match="for each kind of layer"):
        rope_of({"rope_parameters": {"full_attention": {"rope_type": "default"}}})


@pytest.mark.parametrize(
    ("rope", "match"),
    [
        (
            {"type": "linear", "beta_fast": 3},
            "beta_fast does not belong to rope type linear; it takes theta, factor",
        ),
        ({"factor": 4}, "factor does not belong to rope type default; it takes theta"),
        ({"type": "longrope"}, "needs short_factor and long_factor"),
        (
            {"type": "llama3", "low_freq_factor": 4},
            "low_freq_factor 4 must be less than high_freq_factor 4",
        ),
        ({"type": "yarn", "beta_slow": 33}, "beta_fast 32 must be at least beta_slow 33"),
        ({"type": "linear", "factor": 0.5}, "greater than or equal to 1"),
        ({"theta": 0}, "greater than 0"),
        ({"type": "yarn", "attention_factor": 0}, "greater than 0"),
    ],
)
def test_impossible_ropes_are_refused(rope: dict[str, Any], match: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=match):
        ContextLength.model_validate({"positions": 8192, "rope": rope})


def test_scaling_to_fewer_positions_is_refused() -> None:
    for kind in ("linear", "dynamic", "yarn", "llama3"):
        with pytest.raises(StageError, match="2,048 positions are fewer than the 4,096"):
            built({"type": kind}, 2048)
    with pytest.raises(
        StageError, match="scales to more than the 4,096 trained positions, not to 4,096"
    ):
        built({"type": "llama3", "factor": 8}, 4096)
    with pytest.raises(pydantic.ValidationError, match="rope"):
        ContextLength.model_validate({"positions": 8192})
