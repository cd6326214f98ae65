"""Write the fate of every row of a part (kept, or a duplicate of which document), and count it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from infra.ledger import Ledger
from infra.stage import JSON
from infra.store import Shard
from tasks.dedup.batch import FATE
from tasks.dedup.clusters import strings
from tasks.dedup.parts import SignedPart
from tasks.dedup.signed import ID_BYTES, eligible_rows
from tasks.documents.schema import COMPRESSION

SCHEMA = pa.schema(
    [("duplicate_of", pa.string()), ("similarity", pa.float32()), ("kind", pa.string())]
)


@dataclass(frozen=True)
class FateWork:
    """Write the fates of a part's rows from the `batches` folders in `elected`."""

    part: SignedPart
    elected: Path
    batches: int


def write_fates(work: FateWork, shard: Shard) -> dict[str, JSON]:
    """Write columns `SCHEMA`, row-aligned with the documents; returns the ledger."""
    part = work.part
    fates, heads = _fates(work)
    order = np.argsort(fates["number"])
    rows, fates, heads = (
        fates["number"][order].astype(np.int64) - part.start,
        fates[order],
        heads[order],
    )
    # Rows of `kept` are null in all columns; `place` is the index of any other row among `fates`.
    kept = np.ones(part.rows, np.bool_)
    kept[rows] = False
    similarity = np.zeros(part.rows, np.float32)
    similarity[rows] = fates["similarity"]
    place = np.zeros(part.rows, np.int64)
    place[rows] = np.arange(len(rows))
    kind = pa.array(np.where(fates["exact"], "exact", "near"), pa.string())
    index = pa.array(place, mask=kept)
    table = pa.table(
        [strings(heads).take(index), pa.array(similarity, mask=kept), kind.take(index)],
        schema=SCHEMA,
    )
    with shard.create(f"{part.source}/{part.name}") as path:
        pq.write_table(table, path, compression=COMPRESSION)
    return {"ledger": _ledger(part, table["kind"]).to_json()}


def _fates(work: FateWork) -> tuple[npt.NDArray[Any], npt.NDArray[np.bytes_]]:
    """The part's removed rows, in any order, and the id of the document that represents each."""
    part = work.part
    fates, heads = [np.empty(0, FATE)], [np.empty(0, f"S{ID_BYTES}")]
    for batch in range(work.batches):
        folder = work.elected / str(batch)
        listed = np.load(folder / "fates.npy", mmap_mode="r")
        first, last = np.searchsorted(listed["number"], (part.start, part.start + part.rows))
        if last > first:
            mine = np.array(listed[first:last])
            fates.append(mine)
            heads.append(np.load(folder / "heads.npy", mmap_mode="r")["id"][mine["head"]])
    return np.concatenate(fates), np.concatenate(heads)


def _ledger(part: SignedPart, kind: pa.ChunkedArray) -> Ledger:
    """Eligible documents by language and fate."""
    rows = pa.array(eligible_rows(part))
    table = pa.table(
        {
            "language": pq.read_table(part.cut, columns=["language"])["language"].take(rows),
            "kind": kind.take(rows),
            "bytes": pq.read_table(part.signatures, columns=["length"])["length"].take(rows),
        }
    )
    ledger = Ledger()
    for row in (
        table.group_by(["language", "kind"])
        .aggregate([("bytes", "sum"), ("bytes", "count")])
        .to_pylist()
    ):
        amounts = {"documents": row["bytes_count"], "bytes": row["bytes_sum"]}
        ledger.add(part.source, row["language"], "read", **amounts)
        if row["kind"] is None:
            ledger.add(part.source, row["language"], "kept", **amounts)
        else:
            ledger.add(part.source, row["language"], "dropped", f"dedup.{row['kind']}", **amounts)
    return ledger
