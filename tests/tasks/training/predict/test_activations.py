"""Predicted activations against the tensors that autograd keeps of a model."""

import contextlib

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tasks.checkpoints.shapes import ModelShape
from tasks.training.model.loss import LossModel
from tasks.training.model.recompute import recompute_layers
from tasks.training.predict.activations import kept_activations, layer_activations
from tasks.training.predict.setup import Setup
from tasks.training.step.optimizer import set_trainable

SIZES = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 64,
}
ROWS, LENGTH = 2, 64


def kept(kind, layers, setup, **sizes):
    """Bytes of all storages, parameters and 16-bit copies of them left out, that autograd keeps."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, num_hidden_layers=layers, **(SIZES | sizes))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    set_trainable(model, setup.trainable)
    recompute_layers(model, setup.recompute)
    shapes = {tuple(p.shape) for p in model.parameters()}
    weights = shapes | {shape[::-1] for shape in shapes}
    found, alive = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if tuple(tensor.shape) not in weights:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    ids = torch.arange(ROWS * LENGTH).view(ROWS, LENGTH) % 64
    positions = torch.arange(LENGTH).repeat(ROWS, 1)
    if setup.document_mask:
        positions %= LENGTH // 2
    autocast = torch.autocast("cpu", dtype=torch.bfloat16)
    context = autocast if setup.precision == "bf16" else contextlib.nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), context:
        LossModel(model)(ids, ids, positions)
    return sum(found.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("kind", "sizes", "setup"),
    [
        ("llama", {}, {}),
        ("llama", {"num_key_value_heads": 6, "head_dim": 24}, {}),
        ("llama", {}, {"document_mask": False}),
        ("llama", {}, {"trainable": "embeddings"}),
        ("llama", {}, {"recompute": "full"}),
        ("qwen3", {"head_dim": 16}, {}),
    ],
)
def test_a_layer_keeps_what_is_predicted(kind, sizes, setup, precision):
    setup = Setup(micro_batch=ROWS, sequence_length=LENGTH, precision=precision, **setup)
    config = AutoConfig.for_model(kind, num_hidden_layers=1, **(SIZES | sizes))
    shape = ModelShape.from_config(config.to_dict())
    measured = kept(kind, 3, setup, **sizes) - kept(kind, 2, setup, **sizes)
    assert kept_activations(shape, setup) == pytest.approx(measured, rel=0.02)


def test_recomputing_keeps_less_and_selective_lies_between():
    shape = ModelShape(num_hidden_layers=1, **SIZES)
    none, selective, full = (
        kept_activations(shape, Setup(ROWS, LENGTH, recompute=kind))
        for kind in ("none", "selective", "full")
    )
    assert full < selective < none == layer_activations(shape, Setup(ROWS, LENGTH))
    assert full == ROWS * LENGTH * 96 * 4
