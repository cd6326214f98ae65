"""Write the fate of every row of a part (kept, or a duplicate of which document), and count it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.ledger import Ledger
from infra.stage import JSON
from infra.store import Shard
from infra.store.exchange import Exchange
from tasks.documents.schema import COMPRESSION
from tasks.documents.segments import bucket_of, gathered
from tasks.duplicates.clusters import strings
from tasks.duplicates.parts import SignedPart
from tasks.duplicates.results import FATE, FATES
from tasks.duplicates.signed import eligible_rows

SCHEMA = pa.schema(
    [("duplicate_of", pa.string()), ("similarity", pa.float32()), ("kind", pa.string())]
)


@dataclass(frozen=True)
class FateWork:
    """Write the fates of a part's rows from the `batches` batches in `elected`; `stage`: whose
    reasons they are in the ledger.
    """

    part: SignedPart
    elected: Exchange
    batches: int
    stage: str


def write_fates(work: FateWork, shard: Shard) -> dict[str, JSON]:
    """Write columns `SCHEMA`, row-aligned with the documents; returns the ledger."""
    part = work.part
    names = [f"{batch}/{FATES}" for batch in range(work.batches)]
    fates = gathered(work.elected, bucket_of(names, part.number), FATE)
    fates = fates[np.argsort(fates["number"])]
    rows = fates["number"].astype(np.int64) - part.start
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
        [strings(fates["head"]).take(index), pa.array(similarity, mask=kept), kind.take(index)],
        schema=SCHEMA,
    )
    with shard.create(f"{part.source}/{part.name}") as path:
        pq.write_table(table, path, compression=COMPRESSION)
    return {"ledger": _ledger(part, table["kind"], work.stage).to_json()}


def _ledger(part: SignedPart, kind: pa.ChunkedArray, stage: str) -> Ledger:
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
            ledger.add(part.source, row["language"], "dropped", f"{stage}.{row['kind']}", **amounts)
    return ledger
