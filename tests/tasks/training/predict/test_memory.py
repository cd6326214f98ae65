"""Memory by part against counts made here of tensors of a model and of what torch's AdamW holds."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tasks.checkpoints.shapes import SHAPES, ModelShape
from tasks.training.model import loss
from tasks.training.predict.memory import CHUNK_LOGITS, chunk_tokens, memory_of
from tasks.training.predict.setup import (
    AdapterSetup,
    Setup,
    adapter_parameters,
    matmul_counts,
    trained_parameters,
)

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 500,
}
SHAPE = ModelShape(**SIZES)
SETUP = Setup(micro_batch=2, sequence_length=32)


def bytes_of(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_weights_gradients_and_moments_are_those_of_the_optimizer():
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    memory = memory_of(SHAPE, SETUP)
    gradients = bytes_of(parameter.grad for parameter in model.parameters())
    states = [s for by_name in optimizer.state.values() for s in by_name.values() if s.numel() > 1]
    assert memory.parts["weights"] == bytes_of(model.parameters())
    assert memory.parts["moments"] == bytes_of(states)
    head = bytes_of([model.lm_head.weight])
    assert memory.parts["gradients"] == gradients + head  # of the micro-batch, before it is added
    assert memory.total == sum(memory.parts.values())


def test_the_chunk_of_logits_is_that_of_the_loss():
    assert CHUNK_LOGITS == loss.CHUNK_LOGITS
    for vocabulary, device in ((500, "cpu"), (69_104, "cpu"), (128_256, "cuda"), (10**8, "cpu")):
        assert chunk_tokens(vocabulary, device) == loss.chunk_tokens(vocabulary, device)
    shape = SHAPE.grown(vocabulary=2**20)
    memory = memory_of(shape, Setup(micro_batch=8, sequence_length=64))
    assert memory.moment == "loss"
    assert memory.parts["logits"] == 2 * 64 * 2**20 * 4  # 64 tokens: logits and exponentials


def test_one_micro_batch_a_step_holds_no_gradients_in_the_forward_pass():
    long = Setup(micro_batch=64, sequence_length=512)
    alone = Setup(micro_batch=64, sequence_length=512, accumulates=False)
    several, one = memory_of(SHAPE, long), memory_of(SHAPE, alone)
    assert several.moment == one.moment == "backward begins"
    # the head's gradient is there already
    assert several.total - one.total == (SHAPE.parameters - SHAPE.embedding) * 4


def test_a_full_split_divides_weights_gradients_and_moments():
    shape = SHAPES["llama-2-7b"]
    setup = {"micro_batch": 1, "sequence_length": 4096, "precision": "bf16", "device": "cuda"}
    setup |= {"recompute": "full", "by_lengths": True}
    whole = memory_of(shape, Setup(**setup))
    split = memory_of(shape, Setup(**setup, ranks=64))
    hybrid = memory_of(shape, Setup(**setup, ranks=64, replicas=8))
    copies = memory_of(shape, Setup(**setup, ranks=64, replicas=64))
    for part in ("weights", "moments"):
        assert split.parts[part] == whole.parts[part] // 64
        assert hybrid.parts[part] == whole.parts[part] // 8
        assert copies.parts[part] == whole.parts[part]
    assert whole.parts["weights"] == 4 * shape.parameters
    assert whole.parts["moments"] == 8 * shape.parameters
    # the root's matrices are gathered as they are, in float32
    assert split.parts["gathered"] > 2 * 4 * 32_000 * 4096


def test_offload_moves_moments_to_the_host():
    whole, moved = memory_of(SHAPE, SETUP), memory_of(SHAPE, Setup(2, 32, offload=True))
    assert "moments" not in moved.parts
    assert whole.total - moved.total == 8 * SHAPE.parameters
    assert moved.host == (8 + 4 + 4) * SHAPE.parameters  # moments, weights, gradients


@pytest.mark.parametrize(
    ("optimizer", "bytes_each"), [("adamw", 8), ("adamw-8bit", 2 + 2 / 64), ("paged-adamw", 8)]
)
def test_moments_by_optimizer(optimizer, bytes_each):
    memory = memory_of(SHAPE, Setup(2, 32, optimizer=optimizer))
    assert memory.parts["moments"] == pytest.approx(SHAPE.parameters * bytes_each, abs=1)


def test_an_adapter_trains_its_own_matrices():
    adapter = AdapterSetup(rank=8)
    # r (inputs + outputs) of q, k, v, o, gate, up, down
    each = 8 * ((64 + 64) + 2 * (64 + 32) + (64 + 64) + 2 * (64 + 160) + (160 + 64))
    assert adapter_parameters(SHAPE, adapter) == 3 * each
    setup = Setup(2, 32, adapter=adapter)
    assert trained_parameters(SHAPE, setup) == 3 * each
    memory = memory_of(SHAPE, setup)
    assert memory.parts["moments"] == 8 * 3 * each
    assert memory.parts["weights"] == 4 * (SHAPE.parameters + 3 * each)
    passed, trained = matmul_counts(SHAPE, setup)
    assert (passed, trained) == (SHAPE.matmul_parameters + 3 * each, 3 * each)
    dora = AdapterSetup(rank=8, targets=("q_proj",), dora=True)
    assert adapter_parameters(SHAPE, dora) == 3 * (8 * 128 + 64)


def test_four_bits_hold_the_matrices_of_layers_only():
    quantised = memory_of(SHAPE, Setup(2, 32, adapter=AdapterSetup(rank=8, quantised=True)))
    plain = memory_of(SHAPE, Setup(2, 32, adapter=AdapterSetup(rank=8)))
    matrices = 3 * SHAPE.layer_matrices
    saved = plain.parts["weights"] - quantised.parts["weights"]
    assert saved == pytest.approx(matrices * (4 - 0.5 - 1 / 64 - 4 / 64 / 256), abs=1)


def test_frozen_matrices_are_held_in_16_bits_where_products_are():
    whole = memory_of(SHAPE, Setup(2, 32, precision="bf16", adapter=AdapterSetup(rank=8)))
    matrices = 3 * SHAPE.layer_matrices
    added = adapter_parameters(SHAPE, AdapterSetup(rank=8))
    assert whole.parts["weights"] == 4 * (SHAPE.parameters - matrices + added) + 2 * matrices
    lora, qlora = (
        memory_of(SHAPE, Setup(2, 32, ranks=4, adapter=AdapterSetup(rank=8, quantised=kind)))
        for kind in (False, True)
    )
    assert lora.parts["moments"] == 8 * added // 4
    assert qlora.parts["moments"] == 8 * added  # each rank has all of it


def test_embeddings_only_train_both_matrices():
    setup = Setup(2, 32, trainable="embeddings")
    assert trained_parameters(SHAPE, setup) == 2 * 500 * 64
    assert memory_of(SHAPE, setup).parts["moments"] == 8 * 2 * 500 * 64
    assert matmul_counts(SHAPE, setup) == (SHAPE.matmul_parameters, 500 * 64)
