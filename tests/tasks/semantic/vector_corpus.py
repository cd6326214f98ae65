"""Documents with given vectors, as artifacts of the stages before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.store import Artifact
from tasks.dedup.stage import STAGE as DEDUP
from tasks.dedup.stage import DedupParameters
from tasks.documents.vectors import to_column
from tasks.neighbours.stage import STAGE as NEIGHBOURS
from tasks.neighbours.stage import NeighboursParameters
from tests.stage_harness import run_stage
from tests.tables import artifact
from tests.tasks.dedup.corpus import dedup_inputs, document

Inputs = dict[str, Any]
Vectors = np.ndarray[Any, Any]

MODEL = {"model": "a-model", "fingerprint": "f", "dimensions": 8, "version": 1}


def unit(vectors: Vectors) -> Vectors:
    found: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return found.astype(np.float32)


def crowds(count: int, dimensions: int, seed: int, *, spread: float = 0.25) -> Vectors:
    """Unit vectors of which many are near others: three to a centre on average."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(count // 3, 1), dimensions))
    chosen = centres[rng.integers(0, len(centres), count)]
    return unit(chosen + spread * rng.standard_normal((count, dimensions)))


def given(
    tmp_path: Path,
    vectors: Mapping[str, Vectors],
    *,
    part_rows: int = 100,
    model: Mapping[str, Any] = MODEL,
    rows: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    history: Sequence[Artifact] = (),
) -> Inputs:
    """All inputs of neighbours: documents whose texts are all different, and their vectors (null
    for a vector of zeros).
    """
    texts = rows or {
        source: [document(f"{source} text number {row}", source) for row in range(len(found))]
        for source, found in vectors.items()
    }
    inputs: Inputs = dict(dedup_inputs(texts, tmp_path, part_rows=part_rows))
    if history:
        inputs["history"] = list(history)
    inputs["dedup"] = run_stage(DEDUP, DedupParameters(accept=True), inputs, tmp_path=tmp_path)
    inputs["embeddings"] = [
        artifact(
            tmp_path,
            "embeddings",
            source,
            _tables(found, part_rows),
            {"vectors": {**model, "dimensions": found.shape[1]}},
        )
        for source, found in vectors.items()
    ]
    return inputs


def _tables(vectors: Vectors, part_rows: int) -> dict[str, pa.Table]:
    starts = range(0, max(len(vectors), 1), part_rows)
    parts = [vectors[at : at + part_rows] for at in starts]
    return {
        f"part-{number:05d}.parquet": pa.table({"vector": to_column(part, _known(part))})
        for number, part in enumerate(parts)
    }


def _known(vectors: Vectors) -> Vectors:
    known: Vectors = np.abs(vectors).sum(axis=1) != 0
    return known


def neighbours(
    tmp_path: Path, inputs: Inputs, parameters: NeighboursParameters | None = None, **options: Any
) -> Artifact:
    roles = [role.name for role in NEIGHBOURS.inputs]
    chosen = {name: found for name, found in inputs.items() if name in roles}
    return run_stage(
        NEIGHBOURS, parameters or NeighboursParameters(), chosen, tmp_path=tmp_path, **options
    )


def pairs(made: Artifact) -> dict[tuple[int, int], float]:
    """(first, second) -> cosine; each pair must be there once."""
    found: dict[tuple[int, int], float] = {}
    for name in made.files("pairs/"):
        for row in pq.read_table(made.path(name)).to_pylist():
            assert row["first"] < row["second"] and (row["first"], row["second"]) not in found
            found[row["first"], row["second"]] = row["similarity"]
    return found


def by_brute_force(vectors: Vectors, floor: float) -> dict[tuple[int, int], float]:
    """The same by comparing all with all, of the vectors as they are stored."""
    stored = unit(vectors.astype(np.float16).astype(np.float64)).astype(np.float64)
    cosines = stored @ stored.T
    rows, columns = np.nonzero(np.triu(cosines >= floor, 1))
    known = _known(vectors)
    return {
        (int(r), int(c)): float(cosines[r, c])
        for r, c in zip(rows, columns, strict=True)
        if known[r] and known[c]
    }
