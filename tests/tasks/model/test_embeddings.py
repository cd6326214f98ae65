"""Grown matrices keep old rows to the bit, and new rows are exactly what the method defines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from infra.stage import StageError
from tasks.checkpoints.weights import read_header
from tasks.model import embeddings
from tasks.model.embeddings import Growth, NewRow, as_bytes, as_float64, grow, padded
from tasks.model.safetensors_file import write_file
from tasks.model.stage import Method

ROWS = (NewRow(10, (1, 2)), NewRow(11, (3,)), NewRow(12, (9, 0, 4)))


def grown(
    matrix_VD: torch.Tensor,
    growth: Growth,
    tmp_path: Path,
    method: Method = "mean",
    stream: int = 0,
) -> tuple[torch.Tensor, dict[str, Any]]:
    save_file({"matrix": matrix_VD}, tmp_path / "before.safetensors")
    stored = read_header(tmp_path / "before.safetensors")["matrix"]
    norms: dict[str, Any] = {}
    write_file(
        tmp_path / "after.safetensors", [grow("matrix", stored, growth, method, stream, norms)]
    )
    return load_file(tmp_path / "after.safetensors")["matrix"].clone(), norms


def normal(rows: int, width: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 300), st.integers(1, 128))
def test_padding(size: int, multiple: int) -> None:
    rows = padded(size, multiple)
    assert rows % multiple == 0 and size <= rows < size + multiple


@pytest.mark.parametrize("block", [1, 15, 1 << 22])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_mean_rows_equal_a_plain_reference_to_the_bit(
    dtype: torch.dtype, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "_BLOCK_ELEMENTS", block)
    # The base has 10 tokens and four padding rows; ids 10, 11 and 12 become tokens.
    matrix_VD = normal(14, 5).to(dtype)
    grown_VD, norms = grown(matrix_VD, Growth(ROWS, total=18, old=10), tmp_path)
    assert grown_VD.dtype == dtype and grown_VD.shape == (18, 5)
    assert torch.equal(grown_VD[:10], matrix_VD[:10])
    for row in ROWS:
        mean_D = torch.stack([matrix_VD[i].double() for i in row.base_ids]).mean(0).to(dtype)
        assert torch.equal(grown_VD[row.id], mean_D)
    assert torch.equal(grown_VD[13], matrix_VD[13])
    assert torch.equal(grown_VD[14:], matrix_VD[:10].double().mean(0).to(dtype).expand(4, -1))
    assert norms["old"] == pytest.approx(float(matrix_VD[:10].double().norm(dim=1).mean()))
    assert norms["new"] == pytest.approx(float(grown_VD[10:13].double().norm(dim=1).mean()))


@given(st.lists(st.floats(), min_size=1, max_size=20))
def test_values_are_rounded_as_torch_rounds_them(values: list[float]) -> None:
    values_VD = np.array([values])
    for name, dtype in {
        "F64": "float64",
        "F32": "float32",
        "F16": "float16",
        "BF16": "bfloat16",
    }.items():
        with np.errstate(over="ignore"):
            raw_VW = as_bytes(values_VD, name)
        expected = torch.from_numpy(values_VD).to(getattr(torch, dtype))
        found = torch.from_numpy(raw_VW).view(expected.dtype)
        assert torch.equal(found.nan_to_num(1.5), expected.nan_to_num(1.5))
        assert np.array_equal(as_float64(raw_VW, name), expected.double().numpy(), equal_nan=True)


def test_other_initialisations(tmp_path: Path) -> None:
    matrix_VD = normal(10, 4)
    growth = Growth(ROWS, 13, 10, seed=3)
    same, _ = grown(matrix_VD, growth, tmp_path, "global-mean")
    assert torch.equal(same[10], same[11]) and torch.equal(
        same[10], matrix_VD.double().mean(0).float()
    )
    first, _ = grown(matrix_VD, growth, tmp_path, "first")
    last, _ = grown(matrix_VD, growth, tmp_path, "last")
    assert torch.equal(first[10:], matrix_VD[[1, 3, 9]]) and torch.equal(
        last[10:], matrix_VD[[2, 3, 4]]
    )
    scaled, norms = grown(matrix_VD, growth, tmp_path, "mean-norm")
    mean, _ = grown(matrix_VD, growth, tmp_path, "mean")
    assert torch.allclose(scaled[10:].norm(dim=1), matrix_VD.norm(dim=1).mean().expand(3))
    assert torch.allclose(torch.cosine_similarity(scaled[10:], mean[10:]), torch.ones(3))
    assert norms["new"] == pytest.approx(norms["old"], rel=1e-6)
    zeros, _ = grown(matrix_VD, growth, tmp_path, "zero")
    assert not zeros[10:].any() and torch.equal(zeros[:10], mean[:10])
    noise, _ = grown(matrix_VD, growth, tmp_path, "random")
    assert torch.equal(noise, grown(matrix_VD, growth, tmp_path, "random")[0])
    assert not torch.equal(noise, grown(matrix_VD, growth, tmp_path, "random", stream=1)[0])
    assert not torch.equal(
        noise, grown(matrix_VD, Growth(ROWS, 13, 10, seed=4), tmp_path, "random")[0]
    )


def test_a_zero_mean_stays_zero(tmp_path: Path) -> None:
    zeros, _ = grown(torch.zeros(10, 4), Growth(ROWS, 13, 10), tmp_path, "mean-norm")
    assert not zeros.any()


@given(st.integers(0, 2**31), st.floats(0.01, 10))
def test_padding_never_gets_more_than_its_share(seed: int, spread: float) -> None:
    """exp(mean logit) <= mean exp(logit), so a padding row gets at most 1/V of the total of V
    tokens.
    """
    matrix_VD, hidden_D = normal(50, 8, seed) * spread, normal(1, 8, seed + 1)[0]
    logits_V = matrix_VD.double() @ hidden_D.double()
    padding = matrix_VD.double().mean(0) @ hidden_D.double()
    assert float(padding.exp()) <= float(logits_V.exp().sum()) / 50 * (1 + 1e-9)


def test_checkpoint_and_tokenizer_that_disagree_are_refused(tmp_path: Path) -> None:
    def refused(matrix_VD: torch.Tensor, growth: Growth, match: str) -> None:
        with pytest.raises(StageError, match=match):
            grown(matrix_VD, growth, tmp_path)

    refused(torch.zeros(10, 2), Growth((NewRow(11, (10,)),), 12, 11), "do not belong together")
    refused(torch.zeros(12, 2), Growth((NewRow(10, (10,)),), 12, 10), "do not belong together")
    refused(torch.zeros(10, 2), Growth((), 8, 8), "cannot shrink")
    refused(torch.zeros(10, 2), Growth((NewRow(12, (1,)),), 13, 10), "must have the ids 10 to 10")
    refused(torch.zeros(10, 2), Growth((NewRow(10, ()),), 11, 10), "has no base ids")
    refused(
        torch.zeros(10, 2, dtype=torch.int8),
        Growth((NewRow(10, (1,)),), 11, 10),
        "before it was quantised",
    )
