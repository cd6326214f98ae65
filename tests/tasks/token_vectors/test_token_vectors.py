"""The table against SIF's formula; vectors of documents as sums of it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from infra.engine import EngineConfig, start
from infra.stage import StageError
from infra.store import Artifact
from tasks.checkpoints.weights import read_tensors
from tasks.documents.vectors import from_column
from tasks.embeddings.stage import STAGE as EMBEDDINGS
from tasks.embeddings.stage import EmbeddingsParameters
from tasks.token_vectors.stage import STAGE, TokenVectorsParameters
from tasks.token_vectors.table import projected_rows, signs
from tests.small_base import write_base
from tests.stage_harness import data_digests, run_stage
from tests.tables import documents

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def base(folder: Path, dtype: torch.dtype = torch.float32, width: int = 32) -> Path:
    write_base(folder)
    torch.manual_seed(3)
    rows = torch.randn(260, width) + 0.5  # what all tokens have in common
    save_file({"model.embed_tokens.weight": rows.to(dtype)}, folder / "model.safetensors")
    return folder


def texts(count: int, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(26)]
    return ["".join(rng.choices(ALPHABET, weights, k=rng.randint(20, 90))) for _ in range(count)]


def table_of(tmp_path: Path, folder: Path, given: list[Artifact], **options: Any) -> Artifact:
    stated = {name: options.pop(name) for name in ("sample", "dimensions") if name in options}
    parameters = TokenVectorsParameters(model=str(folder), **stated)
    return run_stage(STAGE, parameters, {"documents": given}, tmp_path=tmp_path, **options)


def test_the_table_is_sifs(tmp_path: Path) -> None:
    folder = base(tmp_path / "base")
    given = [
        documents(tmp_path, "web", [texts(30), texts(8, 2)]),
        documents(tmp_path, "more", [texts(9, 3)]),
    ]
    made = table_of(tmp_path, folder, given)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [tokenizer.encode(t).ids for t in (*texts(30), *texts(8, 2), *texts(9, 3))]
    shares = np.bincount(np.concatenate(ids), minlength=260) / sum(map(len, ids))
    weights = 1e-3 / (1e-3 + shares)
    torch.manual_seed(3)
    rows = (torch.randn(260, 32) + 0.5).double().numpy() * weights[:, None]
    means = np.array([rows[document].mean(axis=0) for document in ids])
    u = np.linalg.svd(means, full_matrices=False)[2][0]
    expected = rows - np.outer(rows @ u, u)
    found = np.load(made.path("table.npy"))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert made.statistics["sample"] == {"documents": 47, "tokens": sum(map(len, ids))}


def test_documents_are_sums_of_the_table_and_not_all_alike(tmp_path: Path) -> None:
    given = documents(tmp_path, "web", [[*texts(40), "", "zz"]])
    made = table_of(tmp_path, base(tmp_path / "base"), [given])
    embedded = run_stage(
        EMBEDDINGS,
        EmbeddingsParameters(),
        {"documents": given, "tokens": made},
        "web",
        tmp_path=tmp_path,
    )
    vectors, known = from_column(pq.read_table(embedded.path("part-00000.parquet"))["vector"])
    assert known.sum() == 41 and not known[40]
    table = np.load(made.path("table.npy"))
    tokenizer = Tokenizer.from_file(str(made.path("tokenizer.json")))
    for row, text in enumerate(texts(40)):
        total = table[tokenizer.encode(text).ids].sum(axis=0)
        np.testing.assert_allclose(vectors[row], total / np.linalg.norm(total), atol=2e-3)
    torch.manual_seed(3)
    rows = (torch.randn(260, 32) + 0.5).numpy()
    plain = np.array([rows[tokenizer.encode(text).ids].mean(axis=0) for text in texts(40)])
    assert _alike(plain) > 0.95 > 0.8 > _alike(vectors[:40].astype(float))
    assert embedded.statistics["vectors"]["fingerprint"] == made.digest[:16]


def _alike(vectors: np.ndarray[Any, Any]) -> float:
    """The median cosine of two documents."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return float(np.median((unit @ unit.T)[np.triu_indices(len(unit), 1)]))


def test_any_engine_and_order_of_sources_writes_the_same_table(tmp_path: Path) -> None:
    folder = base(tmp_path / "base")
    given = [documents(tmp_path, name, [texts(20, seed)]) for name, seed in (("a", 1), ("b", 2))]
    one = data_digests(table_of(tmp_path / "1", folder, given, sample=20))
    with start(EngineConfig(kind="processes", workers=2, cpu_threads=1)) as two:
        other = table_of(tmp_path / "2", folder, given[::-1], sample=20, engine=two)
    assert data_digests(other) == one
    assert 5 <= other.statistics["sample"]["documents"] <= 35


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_rows_of_any_type_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = base(tmp_path, dtype)
    torch.manual_seed(3)
    expected = (torch.randn(260, 32) + 0.5).to(dtype).float().numpy()
    (tensor,) = read_tensors(folder).values()
    assert (projected_rows(tensor, 32) == expected).all()


def test_a_projection_keeps_cosines(tmp_path: Path) -> None:
    (tensor,) = read_tensors(base(tmp_path, width=2_048)).values()
    found = projected_rows(tensor, 512)
    rows = projected_rows(tensor, 2_048)
    assert found.shape == (260, 512) and set(np.unique(signs(64, 16))) == {-0.25, 0.25}

    def cosines(matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
        found: np.ndarray[Any, Any] = unit @ unit.T
        return found

    error = (cosines(found) - cosines(rows))[np.triu_indices(260, 1)]
    assert np.abs(error).mean() < 1 / 512**0.5 and np.abs(error).max() < 6 / 512**0.5


def test_what_cannot_be_weighted_is_refused(tmp_path: Path) -> None:
    folder = base(tmp_path / "base")
    with pytest.raises(StageError, match="no source has a document with text"):
        table_of(tmp_path, folder, [documents(tmp_path, "web", [["", " "[:0]]])])
    rows = torch.full((260, 32), torch.nan)
    save_file({"model.embed_tokens.weight": rows}, folder / "model.safetensors")
    with pytest.raises(StageError, match="row 0 of the input embeddings"):
        table_of(tmp_path, folder, [documents(tmp_path, "more", [["abc"]])])
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"other.weight": rows}, folder / "model.safetensors")
    with pytest.raises(StageError, match="has 0 matrices of input embeddings"):
        table_of(tmp_path, folder, [documents(tmp_path, "third", [["abc"]])])
