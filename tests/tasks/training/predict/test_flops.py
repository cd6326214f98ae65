"""Floating-point operations, against torch's own counter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from tasks.training.loop import Phase
from tasks.training.predict.flops import MatmulShape, document_pairs, shape_of, training_flops
from tests.tasks.training.toys import VOCABULARY, parameters, save_bins, save_model, spec

TOKENS = 32


def counted(model: Any) -> int:
    """Operations of matrix products that torch sees in a step, attention's left out."""
    ids = torch.randint(0, VOCABULARY, (2, TOKENS // 2))
    counter = FlopCounterMode(display=False)
    with counter:
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    return sum(
        flops
        for operator, flops in counter.get_flop_counts()["Global"].items()
        if "mm" in str(operator) and "bmm" not in str(operator)
    )


def test_the_examples() -> None:
    assert document_pairs([]) == 0
    assert document_pairs([1, 3]) == 1 + 6
    shape = MatmulShape(matmul_parameters=10, layers=1, attention_width=2)
    assert training_flops(shape, 2, 3) == 192
    assert training_flops(replace(shape, trained_parameters=0), 2, 3) == 152


@pytest.mark.parametrize("tied", [False, True])
def test_matrix_products_are_those_that_torch_counts(tmp_path: Path, tied: bool) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        save_model(tmp_path / "model", tied=tied), attn_implementation="sdpa"
    )
    assert training_flops(shape_of(model), TOKENS, 0) == counted(model)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("embeddings", ["frozen", "full"])
def test_frozen_matrices_are_counted_without_their_gradients(
    tmp_path: Path, tied: bool, embeddings: str
) -> None:
    folder = save_model(tmp_path / "model", tied=tied)
    shapes = {}
    for kind in ("lora", "qlora"):
        values = parameters(adapter={"kind": kind, "r": 3, "embeddings": embeddings})
        made = spec(tmp_path, folder, save_bins(tmp_path / kind, {"a": [8], "b": [8]}), values)
        model = Phase(made).language_model
        shapes[kind] = shape_of(model)
        if kind == "lora":
            # frozen embeddings: no gradient for what goes into the lowest layer's three matrices
            layer = model.model.layers[0].self_attn
            lowest = sum(
                p.numel()
                for part in (layer.q_proj, layer.k_proj, layer.v_proj)
                for name, p in part.named_parameters()
                if "lora_B" not in name
            )
            saved = 2 * TOKENS * lowest if embeddings == "frozen" else 0
            assert training_flops(shapes[kind], TOKENS, 0) == counted(model) + saved
    assert shapes["lora"] == shapes["qlora"]


def test_llama_2_7b() -> None:
    # 6.74B parameters less 131M of the embedding; attention of whole rows of 4,096 adds 8 %.
    shape = MatmulShape(6_607_077_376, layers=32, attention_width=4096)
    row = training_flops(shape, 4096, document_pairs([4096]))
    assert row / 4096 == pytest.approx(6 * 6.607e9 + 6 * 32 * 4096 * 4096, rel=1e-3)
