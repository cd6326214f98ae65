"""The index of select: survivors in document order, and the parameters of their signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.dedup.stage import STAGE as DEDUP
from tasks.dedup.stage import DedupParameters
from tasks.select.stage import STAGE, HeldOut, SelectParameters
from tasks.signatures.stage import SignaturesParameters
from tests.stage_harness import data_digests, run_stage
from tests.tasks.dedup.corpus import dedup_inputs, document

SIGNED = SignaturesParameters(bands=3, rows=2, seed=5)


def select(tmp_path: Path, part_rows: int, **parameters: Any) -> Any:
    rows = [
        document(f"text number {number} of its own") | {"category": "web"} for number in range(60)
    ]
    rows[3] |= {"reason": "quality.c4", "category": None}
    rows.append(document(rows[0]["text"].upper()) | {"category": "web"})
    inputs = dedup_inputs({"web": rows}, tmp_path, part_rows=part_rows, signatures=SIGNED)
    dedup = run_stage(DEDUP, DedupParameters(bands=3, rows=2, prefer=()), inputs, tmp_path=tmp_path)
    given = {
        "documents": inputs["documents"],
        "signatures": inputs["signatures"],
        "cut": inputs["cut"],
        "dedup": dedup,
    }
    chosen = SelectParameters(heldout=HeldOut(fraction=0.3), **parameters)
    return run_stage(STAGE, chosen, given, "web", tmp_path=tmp_path), rows, inputs


def test_the_index_holds_survivors_with_their_signatures(tmp_path: Path) -> None:
    artifact, rows, inputs = select(tmp_path, 25)
    kept = {row["id"] for row in rows} - {rows[3]["id"]}
    kept -= {max(rows[0]["id"], rows[60]["id"])}  # of two copies the smaller id stays
    tables = [pq.read_table(artifact.path(name)) for name in artifact.files("index/")]
    ids = [id for table in tables for id in table["id"].to_pylist()]
    assert artifact.files("index/") == [f"index/part-{number:05d}.parquet" for number in range(3)]
    assert ids == [row["id"] for row in rows if row["id"] in kept]
    assert artifact.statistics["categories"]["web"]["held_out"]["documents"] > 5
    (signatures,) = inputs["signatures"]
    signed = pq.read_table(signatures.path("part-00000.parquet"))
    expected = dict(zip((row["id"] for row in rows), signed.to_pylist(), strict=False))
    for row in tables[0].to_pylist():
        assert {**row, "length": expected[row["id"]]["length"]} == {
            "id": row["id"],
            **expected[row["id"]],
        }
    index = artifact.statistics["index"]
    assert index["documents"] == 59
    assert index["bytes"] == sum(
        artifact.path(name).stat().st_size for name in artifact.files("index/")
    )
    assert index["bytes_per_document"] == round(index["bytes"] / 59, 1)
    assert index["signatures"] == {
        "version": 3,
        "shingle": 5,
        "bands": 3,
        "rows": 2,
        "seed": 5,
        "text_cap": SIGNED.text_cap,
    }


def test_index_false_omits_only_the_index(tmp_path: Path) -> None:
    with_index, _, _ = select(tmp_path / "with", 60)
    without, _, _ = select(tmp_path / "without", 60, index=False)
    assert without.files("index/") == [] and "index" not in without.statistics
    lines = {
        name: digest
        for name, digest in data_digests(with_index).items()
        if not name.startswith("index/")
    }
    assert data_digests(without) == lines
