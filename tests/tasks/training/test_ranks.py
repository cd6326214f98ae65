"""Two ranks under FSDP2 and gloo give the gradient of one process, also with ragged ranks and tied
weights.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM

from tasks.training.data import PackedRows
from tasks.training.loss import LossModel, step_scale
from tasks.training.sampler import Row, deal
from tests.tasks.training.toys import LENGTH, save_bin, save_model

ROWS = [Row("a", number, 0) for number in range(5)]


def rank_gradients(root: Path, rank: int) -> None:
    """One rank: shard the model, take its rows of the step, save the full gradients."""
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(root / "store"), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    language_model = AutoModelForCausalLM.from_pretrained(root / "model", dtype=torch.float64)
    model = LossModel(language_model)
    for layer in language_model.model.layers:
        fully_shard(layer)
    fully_shard(model)
    data, mine = PackedRows({"a": [str(root / "bin")]}, LENGTH), deal(ROWS, 2, rank)
    micro_batches = [data.batch(mine[at : at + 2]) for at in range(0, len(mine), 2)]
    _, scale = step_scale([labels for _, labels, _ in micro_batches])
    for batch in micro_batches:
        (model(*batch)[0] * scale).backward()
    gradients = {
        name: parameter.grad.full_tensor() for name, parameter in language_model.named_parameters()
    }
    if rank == 0:
        save_file(gradients, root / "gradients.safetensors")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("tied", [False, True])
def test_two_ranks_have_the_gradient_of_one(tmp_path: Path, tied: bool) -> None:
    save_model(tmp_path / "model", tied=tied)
    save_bin(tmp_path / "bin", 8, seed=0)
    ranks = [
        multiprocessing.get_context("fork").Process(target=rank_gradients, args=(tmp_path, r))
        for r in (0, 1)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=240)
        process.kill()
    assert [process.exitcode for process in ranks] == [0, 0]
    language_model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float64)
    ids, labels, positions = PackedRows({"a": [str(tmp_path / "bin")]}, LENGTH).batch(list(ROWS))
    valid, scale = step_scale([labels])
    assert scale == 1 / valid
    (LossModel(language_model)(ids, labels, positions)[0] * scale).backward()
    sharded = load_file(tmp_path / "gradients.safetensors")
    for name, parameter in language_model.named_parameters():
        assert torch.allclose(parameter.grad, sharded[name], rtol=0, atol=1e-14), name
