"""The index of a source's survivors, with which later crawls are deduplicated without their text.

    data/index/part-*.parquet  survivors of the part, for training and held out, in document order:
        id           string
        text_hash    binary(16)                             these three as `tasks.signatures` wrote
        signature    fixed_size_list<uint64>[bands * rows]  them
        shingle_set  list<uint32>

About 0.95 kB of MinHash values per document, and 4 bytes per word: 2.4 kB for a document of 2.5 kB.
The artifact's statistics record the bytes and the parameters of the signatures; signatures made
with others cannot be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.stage import StageError
from infra.store import Artifact, Shard
from tasks.documents.hashes import parquet_options
from tasks.documents.selected import INDEX_FOLDER, VECTORS_FOLDER

_SIGNED = ["text_hash", "signature", "shingle_set"]


def write_index(
    documents: Path, signatures: Path, reasons: pa.ChunkedArray, name: str, shard: Shard
) -> dict[str, int]:
    """Write `index/<name>` for the rows whose reason is null; returns its documents and bytes.

    It has one row group per row group of the documents, of which one at a time is in memory.
    """
    texts, signed = pq.ParquetFile(documents), pq.ParquetFile(signatures)
    if signed.metadata.num_rows != len(reasons):
        raise StageError(
            f"{name}: {len(reasons)} documents but {signed.metadata.num_rows} signatures; rebuild "
            "the signatures"
        )
    signed_schema = signed.schema_arrow
    schema = pa.schema(
        [pa.field("id", pa.string()), *(signed_schema.field(column) for column in _SIGNED)]
    )
    survivors = start = 0
    with (
        shard.create(f"{INDEX_FOLDER}/{name}") as path,
        pq.ParquetWriter(path, schema, **parquet_options(schema)) as writer,
    ):
        for group in range(texts.num_row_groups):
            ids = texts.read_row_group(group, columns=["id"])
            table = signed.read_row_group(group, columns=_SIGNED)
            kept = reasons.slice(start, ids.num_rows).is_null()
            start += ids.num_rows
            table = table.add_column(0, "id", ids["id"]).filter(kept)
            writer.write_table(table.select(schema.names).cast(schema))
            survivors += table.num_rows
    return {
        "documents": survivors,
        "bytes": next(
            int(output["bytes"])
            for output in shard.outputs
            if output["path"] == f"{INDEX_FOLDER}/{name}"
        ),
    }


def write_vectors(vectors: Path, reasons: pa.ChunkedArray, name: str, shard: Shard) -> None:
    """Write `index/vectors/<name>` for the rows whose reason is null, a row group at a time."""
    reader = pq.ParquetFile(vectors)
    if reader.metadata.num_rows != len(reasons):
        raise StageError(
            f"{name}: {len(reasons)} documents but {reader.metadata.num_rows} vectors; rebuild the "
            "embeddings"
        )
    schema, start = reader.schema_arrow, 0
    with (
        shard.create(f"{VECTORS_FOLDER}/{name}") as path,
        pq.ParquetWriter(path, schema, **parquet_options(schema)) as writer,
    ):
        for group in range(reader.num_row_groups):
            table = reader.read_row_group(group)
            writer.write_table(table.filter(reasons.slice(start, table.num_rows).is_null()))
            start += table.num_rows


def index_statistics(written: Iterable[Mapping[str, int]], signatures: Artifact) -> dict[str, Any]:
    """Documents and bytes of all parts, and the parameters with which later crawls must agree."""
    totals = list(written)
    documents, size = (sum(part[unit] for part in totals) for unit in ("documents", "bytes"))
    return {
        "documents": documents,
        "bytes": size,
        "bytes_per_document": round(size / documents, 1) if documents else None,
        "signatures": {
            "version": signatures.manifest.stage_version,
            **{
                name: signatures.manifest.parameters[name]
                for name in ("shingle", "bands", "rows", "seed", "text_cap")
            },
        },
    }
