"""Rows by explicit id: old bits kept, new rows the mean of the right ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infra.stage import StageError
from tasks.model.embeddings import Growth, NewRow, grow, padded


@given(st.integers(1, 300), st.integers(1, 128))
def test_padding(size: int, multiple: int) -> None:
    rows = padded(size, multiple)
    assert rows % multiple == 0 and size <= rows < size + multiple


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_mean_rows_equal_a_plain_reference_to_the_bit(dtype: torch.dtype) -> None:
    matrix_VD = torch.randn(12, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    # The base's tokenizer has 10 tokens, its matrix two rows more; ids 10 and 11 become tokens now.
    rows = (NewRow(10, (1, 2)), NewRow(11, (3,)), NewRow(12, (10 - 1, 0, 4)))
    grown_VD = grow(matrix_VD, Growth(rows, total=16, old=10))
    assert grown_VD.dtype == dtype
    assert torch.equal(grown_VD[:10], matrix_VD[:10])
    for row in rows:
        mean_D = torch.stack([matrix_VD[i].double() for i in row.base_ids]).mean(0).to(dtype)
        assert torch.equal(grown_VD[row.id], mean_D)
    assert torch.equal(grown_VD[13:], matrix_VD[:10].double().mean(0).to(dtype).expand(3, -1))


def test_other_initialisations() -> None:
    matrix_VD = torch.randn(10, 4, generator=torch.Generator().manual_seed(1))
    rows = (NewRow(10, (1, 2)), NewRow(11, (3, 4)))
    same = grow(matrix_VD, Growth(rows, 12, 10, method="global-mean"))
    assert torch.equal(same[10], same[11]) and torch.allclose(same[10], matrix_VD.mean(0))
    noise = grow(matrix_VD, Growth(rows, 12, 10, method="random", seed=3))
    assert torch.equal(noise, grow(matrix_VD, Growth(rows, 12, 10, method="random", seed=3)))
    assert not torch.equal(noise, grow(matrix_VD, Growth(rows, 12, 10, method="random", seed=4)))


def test_checkpoint_and_tokenizer_that_disagree_are_refused() -> None:
    with pytest.raises(StageError, match="do not belong together"):
        grow(torch.zeros(10, 2), Growth((NewRow(11, (10,)),), 12, 11))
    with pytest.raises(StageError, match="cannot shrink"):
        grow(torch.zeros(10, 2), Growth((), 8, 8))
