"""Floating-point operations, against torch's own counter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from tasks.training.predict.flops import MatmulShape, document_pairs, shape_of, training_flops
from tests.tasks.training.toys import VOCABULARY, save_model


def test_the_examples() -> None:
    assert document_pairs([]) == 0
    assert document_pairs([1, 3]) == 1 + 6
    shape = MatmulShape(matmul_parameters=10, layers=1, attention_width=2)
    assert training_flops(shape, 2, 3) == 192
    assert training_flops(shape, 2, 3, trained_matmul_parameters=0) == 152


@pytest.mark.parametrize("tied", [False, True])
def test_matrix_products_are_those_that_torch_counts(tmp_path: Path, tied: bool) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        save_model(tmp_path / "model", tied=tied), attn_implementation="sdpa"
    )
    ids = torch.randint(0, VOCABULARY, (2, 16))
    counter = FlopCounterMode(display=False)
    with counter:
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    counted = sum(
        flops
        for operator, flops in counter.get_flop_counts()["Global"].items()
        if "mm" in str(operator) and "bmm" not in str(operator)
    )
    assert training_flops(shape_of(model), ids.numel(), 0) == counted


def test_llama_2_7b() -> None:
    # 6.74B parameters less 131M of the embedding; attention of whole rows of 4,096 adds 8 %.
    shape = MatmulShape(6_607_077_376, layers=32, attention_width=4096)
    row = training_flops(shape, 4096, document_pairs([4096]))
    assert row / 4096 == pytest.approx(6 * 6.607e9 + 6 * 32 * 4096 * 4096, rel=1e-3)
