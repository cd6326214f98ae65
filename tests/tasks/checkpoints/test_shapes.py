"""Parameters of shapes against transformers' own models."""

import json
import math

import pydantic
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tasks.checkpoints.shapes import SHAPES, ModelShape, ShapeError, ShapeField, shape_of


def tensors_of(config):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def counted(config):
    return sum(math.prod(shape) for shape in tensors_of(config).values())


def config_of(kind, shape, **more):
    sizes = shape.model_dump(
        exclude={"qkv_bias", "output_bias", "mlp_bias", "qk_norm"}, exclude_none=True
    )
    return AutoConfig.for_model(kind, **(sizes | more))


@pytest.mark.parametrize("name", SHAPES)
def test_a_named_shape_has_the_parameters_of_the_model_itself(name):
    shape = SHAPES[name]
    assert shape.parameters == counted(config_of("llama", shape))


@pytest.mark.parametrize(
    ("name", "published"),
    # papers: arXiv 2302.13971 table 2 and 2307.09288; model cards of Llama-3 and TinyLlama
    [
        ("llama-1-7b", 6.7e9),
        ("llama-1-13b", 13.0e9),
        ("llama-1-33b", 32.5e9),
        ("llama-1-65b", 65.2e9),
        ("llama-2-7b", 6.74e9),
        ("llama-2-70b", 68.98e9),
        ("llama-3-8b", 8.03e9),
        ("llama-3-70b", 70.55e9),
        ("tinyllama-1.1b", 1.10e9),
    ],
)
def test_a_named_shape_has_the_published_size(name, published):
    assert SHAPES[name].parameters == pytest.approx(published, rel=0.01)


def test_a_grown_vocabulary_adds_its_rows_to_both_matrices():
    base = SHAPES["llama-2-7b"]
    grown = base.grown(vocabulary=69_104)
    assert grown.parameters == base.parameters + 2 * (69_104 - 32_000) * 4096
    assert grown.parameters == counted(config_of("llama", grown))
    tied = grown.model_copy(update={"tie_word_embeddings": True})
    assert tied.parameters == grown.parameters - 69_104 * 4096 == counted(config_of("llama", tied))


SMALL = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 101,
}


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("llama", {}),
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("llama", {"tie_word_embeddings": True, "head_dim": 16}),
        ("mistral", {"head_dim": 10}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {"head_dim": 12, "attention_bias": True}),
    ],
)
def test_a_configuration_has_the_tensors_of_its_model(kind, more):
    config = AutoConfig.for_model(kind, **(SMALL | more))
    stored = json.loads(config.to_json_string(use_diff=False))
    shape = ModelShape.from_config(stored)
    assert shape.parameters == counted(config)
    assert shape.tensors() == tensors_of(config)


def test_products_of_a_token_are_the_matrices_without_the_lookup():
    shape = ModelShape(**SMALL)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of("llama", shape))
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert shape.matmul_parameters == sum(linear.weight.numel() for linear in linears)


def test_another_kind_of_model_is_refused_with_the_next_action():
    with pytest.raises(ShapeError, match=r"'mamba'.*known: llama.*state model.shape"):
        ModelShape.from_config({"model_type": "mamba"})
    with pytest.raises(ShapeError, match="intermediate_size"):
        ModelShape.from_config({"model_type": "llama", "hidden_size": 64})


def test_a_shape_is_a_known_name_or_sizes():
    read = pydantic.TypeAdapter(ShapeField)
    assert shape_of(read.validate_python("llama-2-7b")) == SHAPES["llama-2-7b"]
    assert shape_of(read.validate_python(SMALL)) == ModelShape(**SMALL)
    grown = read.validate_python({"name": "llama-2-7b", "vocab_size": 69_104})
    assert shape_of(grown) == SHAPES["llama-2-7b"].grown(69_104)
    with pytest.raises(pydantic.ValidationError, match="not a known shape; known: llama-1-7b"):
        read.validate_python({"name": "llama-2-8b", "vocab_size": 69_104})
    with pytest.raises(pydantic.ValidationError, match="not a known shape; known: llama-1-7b"):
        read.validate_python("llama-2-8b")
    with pytest.raises(pydantic.ValidationError, match="does not divide into 7 heads"):
        read.validate_python(SMALL | {"num_attention_heads": 7})
    with pytest.raises(pydantic.ValidationError, match="not a multiple of num_key_value_heads 4"):
        read.validate_python(SMALL | {"num_key_value_heads": 4})
