"""Files, layers and configuration of a new checkpoint are planned from headers alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.stage import StageError
from tasks.checkpoints.weights import StoredTensor
from tasks.model.checkpoint import Checkpoint
from tasks.model.layers import choose, config_of
from tasks.model.plan import index_of, plan
from tasks.model.stage import LayerChoice


def checkpoint(layers: int, tied: bool = False) -> Checkpoint:
    shapes = {"model.embed_tokens.weight": (10, 4), "model.norm.weight": (4,)}
    shapes |= {} if tied else {"lm_head.weight": (10, 4)}
    shapes |= {f"model.layers.{i}.mlp.experts.1.weight": (6, 4) for i in range(layers)}
    tensors = {
        name: StoredTensor("base", "BF16", shape, 100 * number, 2 * math.prod(shape))
        for number, (name, shape) in enumerate(shapes.items())
    }
    output = None if tied else "lm_head.weight"
    return Checkpoint(
        "base", {"num_hidden_layers": layers}, tensors, "model.embed_tokens.weight", output
    )


@given(st.integers(1, 13), st.booleans(), st.data())
def test_every_tensor_goes_to_one_file_below_the_limit(
    count: int, tied: bool, data: st.DataObject
) -> None:
    base = checkpoint(count, tied)
    layers = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=20))
    limit = data.draw(st.integers(1, 600))
    files = plan(base, layers, 16, True, limit)
    placed = [(file, tensor) for file in files for tensor in file.tensors]
    assert (
        len({tensor.name for _, tensor in placed})
        == len(placed)
        == len(layers) + (2 if tied else 3)
    )
    for file in files:
        assert len(file.tensors) == 1 or sum(tensor.bytes for tensor in file.tensors) <= limit
    by_name = {tensor.name: tensor for _, tensor in placed}
    for place, index in enumerate(layers):
        source = base.tensors[f"model.layers.{index}.mlp.experts.1.weight"]
        assert by_name[f"model.layers.{place}.mlp.experts.1.weight"].source == source
    assert (
        by_name["model.embed_tokens.weight"].shape,
        by_name["model.embed_tokens.weight"].bytes,
    ) == ((16, 4), 128)
    index_found = index_of(files)
    if len(files) == 1:
        assert index_found is None and files[0].name == "model.safetensors"
    else:
        assert index_found is not None
        assert index_found["weight_map"] == {tensor.name: file.name for file, tensor in placed}
        assert index_found["metadata"]["total_size"] == sum(tensor.bytes for _, tensor in placed)


def test_choices_of_layers() -> None:
    def scores(choice: LayerChoice) -> list[float]:
        assert choice.measure == "loss"
        return [0.5, 0.1, 0.9, 0.1, 0.7]

    assert choose(None, 3, scores) == (0, 1, 2)
    assert choose((2, 0, 0), 3, scores) == (2, 0, 0)
    assert choose(LayerChoice(first=24), 32, scores) == tuple(range(24))
    assert choose(LayerChoice(ends=24), 32, scores) == (*range(12), *range(20, 32))
    assert choose(LayerChoice(ends=3), 5, scores) == (0, 1, 4)
    assert choose(LayerChoice(ends=1), 5, scores) == (0,)
    assert choose(LayerChoice(ends=5), 5, scores) == (0, 1, 2, 3, 4)
    assert choose(LayerChoice(important=3, measure="loss"), 5, scores) == (0, 2, 4)
    assert choose(LayerChoice(important=4, measure="loss"), 5, scores) == (0, 1, 2, 4)
    with pytest.raises(StageError, match="names layer 5, but the base has 5, 0 to 4"):
        choose((0, 5), 5, scores)
    with pytest.raises(StageError, match="asks for 6 layers, but the base has 5"):
        choose(LayerChoice(first=6), 5, scores)
    with pytest.raises(StageError, match="5 layers were measured, but the base has 4"):
        choose(LayerChoice(important=2, measure="loss"), 4, scores)


def test_lists_with_one_value_per_layer_follow_the_layers() -> None:
    config: dict[str, Any] = {
        "num_hidden_layers": 3,
        "layer_types": ["full_attention", "sliding_attention", "full_attention"],
        "no_rope_layers": [1, 1, 0],
        "eos_token_id": [1, 2, 3],
        "other": [1, 2],
    }
    assert config_of(config, (0, 2)) == {
        "num_hidden_layers": 2,
        "layer_types": ["full_attention", "full_attention"],
        "no_rope_layers": [1, 0],
        "eos_token_id": [1, 2, 3],
        "other": [1, 2],
    }
    assert config_of(config, (0, 1, 2)) == config
    with pytest.raises(StageError, match=r"by number \(mlp_only_layers\)"):
        config_of(config | {"mlp_only_layers": [2]}, (0, 2))
    with pytest.raises(StageError, match="max_window_layers"):
        config_of({"num_hidden_layers": 3, "use_sliding_window": True}, (0, 2))
