"""Columns of hashes are stored plain, all others as usual."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.documents.hashes import SHINGLE_SET, TEXT_HASH, parquet_options, signature_type


def test_hashes_are_plain_and_the_rest_is_compressed(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("text_hash", TEXT_HASH),
            ("signature", signature_type(2)),
            ("shingle_set", SHINGLE_SET),
            ("edits", pa.list_(pa.struct([("start", pa.int64()), ("hash", pa.uint64())]))),
            ("length", pa.int64()),
        ]
    )
    row = {
        "id": "a",
        "text_hash": b"h" * 16,
        "signature": [1, 2],
        "shingle_set": [3],
        "edits": None,
        "length": 9,
    }
    pq.ParquetWriter(tmp_path / "a", schema, **parquet_options(schema)).close()
    with pq.ParquetWriter(tmp_path / "b", schema, **parquet_options(schema)) as writer:
        writer.write_table(
            pa.Table.from_pylist([row, row | {"signature": None, "shingle_set": []}], schema)
        )
    group = pq.ParquetFile(tmp_path / "b").metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    storage = {c.path_in_schema: (c.compression, c.has_dictionary_page) for c in columns}
    plain, usual = ("UNCOMPRESSED", False), ("ZSTD", True)
    assert storage == {
        "id": usual,
        "text_hash": plain,
        "signature.list.element": plain,
        "shingle_set.list.element": plain,
        "edits.list.element.start": ("ZSTD", True),
        "edits.list.element.hash": plain,
        "length": usual,
    }
    assert pq.read_table(tmp_path / "b").to_pylist()[0] == row


def test_schemas_without_hashes_are_written_as_before() -> None:
    assert parquet_options(pa.schema([("text", pa.string()), ("score", pa.float64())])) == {
        "compression": "zstd"
    }
