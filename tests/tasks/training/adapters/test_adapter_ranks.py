"""Adapters on several ranks: the same losses, adapters and merged weights as in one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.training.distributed.ranks import Ranks
from tasks.training.errors import Interrupted
from tasks.training.loop import Phase
from tasks.training.spec import Spec
from tests.tasks.training import forked
from tests.tasks.training.test_loop import files, stop_after
from tests.tasks.training.toys import LENGTH, parameters, save_bins, save_model, spec

WAYS: dict[str, dict[str, Any]] = {
    "new-rows": {"adapter": {"r": 3, "embeddings": "new-rows"}, "precision": "fp64"},
    "dora": {
        "adapter": {"r": 4, "dora": True, "targets": ["q_proj", "down_proj"]},
        "precision": "fp64",
        "recompute": "full",
    },
    "bf16": {"adapter": {"r": 4}, "precision": "bf16"},
    "qlora": {"adapter": {"kind": "qlora", "r": 4}},
    "8-bit": {"optimizer": {"lr": 1e-3, "name": "adamw-8bit"}},
}
LIMITS = {"bf16": 5e-3, "qlora": 1e-5, "8-bit": 2e-3}
"""On losses; elsewhere 1e-12. Blocks of 8 bits lie differently over a split matrix."""


def train_all(ranks: Ranks, specs: dict[str, Spec]) -> None:
    for made in specs.values():
        metrics: list[dict[str, Any]] = []
        Phase(made, ranks).train(metrics.append)
        if ranks.is_main:
            Path(made.scratch, "losses.json").write_text(
                json.dumps([[step["loss"], step["grad_norm"]] for step in metrics])
            )


def losses(made: Spec) -> torch.Tensor:
    return torch.tensor(json.loads(Path(made.scratch, "losses.json").read_text())).double()


def test_two_ranks_train_the_adapter_that_one_does(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", tied=True, hidden_size=64, intermediate_size=160)
    narrow = save_model(tmp_path / "narrow", tied=True)
    state = {k: v.bfloat16() for k, v in load_file(narrow / "model.safetensors").items()}
    save_file(state, narrow / "model.safetensors", metadata={"format": "pt"})
    bins = save_bins(tmp_path / "bins", {"a": [10, 8], "b": [12, 9]})

    def made(root: str, name: str) -> Spec:
        values = parameters(tokens="15 rows", batch=5 * LENGTH, micro_batch=2, **WAYS[name])
        folder = narrow if name == "bf16" else model
        return spec(tmp_path / root / name, folder, bins, values, new_rows=(60, 90))

    single = {name: made("single", name) for name in WAYS}
    several = {name: made("several", name) for name in WAYS}
    train_all(Ranks(), single)
    forked.run(2, train_all, several)
    for name, ours in several.items():
        limit = LIMITS.get(name, 1e-12)
        assert torch.allclose(losses(ours), losses(single[name]), rtol=0, atol=limit * 5), name
        for file in ("checkpoint/model.safetensors", "adapter/adapter_model.safetensors"):
            if name == "8-bit" and file.startswith("adapter"):
                continue
            found, expected = (load_file(Path(s.output) / file) for s in (ours, single[name]))
            assert found.keys() == expected.keys()
            for key, tensor in found.items():
                assert tensor.shape == expected[key].shape
                assert torch.allclose(tensor, expected[key], rtol=0, atol=limit * 10), (name, key)
    before = load_file(model / "model.safetensors")
    after = load_file(Path(several["dora"].output) / "checkpoint/model.safetensors")
    for key, tensor in before.items():
        if "q_proj" not in key and "down_proj" not in key and "embed" not in key:
            assert torch.equal(after[key], tensor.double()), key


def stop_and_resume(ranks: Ranks, made: Spec) -> None:
    with pytest.raises(Interrupted):
        Phase(made, ranks).train(stop=stop_after(7))
    resumed = Phase(made, ranks)
    assert resumed.resumed
    resumed.train()


def test_two_ranks_resume_an_adapter_to_the_bit(tmp_path: Path) -> None:
    """With 8-bit moments of split matrices, whose codes come back from files in float32."""
    model = save_model(tmp_path / "model", hidden_size=64, intermediate_size=160)
    bins = save_bins(tmp_path / "bins", {"a": [10, 8], "b": [12, 9]})
    values = parameters(
        tokens="24 rows",
        adapter={"r": 40, "embeddings": "full", "dropout": 0.1},
        optimizer={"lr": 1e-2, "name": "adamw-8bit"},
    )
    straight, stopped = (
        spec(tmp_path / name, model, bins, values, new_rows=(60, 90))
        for name in ("straight", "stopped")
    )
    forked.run(2, train_all, {"straight": straight})
    forked.run(2, stop_and_resume, stopped)
    assert files(straight.output) == files(stopped.output)
