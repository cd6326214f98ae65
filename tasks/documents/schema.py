"""The columns of a document as ingest writes it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

ROW_GROUP_DOCUMENTS = 1_000
"""Documents in a Parquet row group, which is how much text annotators hold in memory."""

COMPRESSION = "zstd"

_REPEATING = (
    "prompt",
    "source",
    "file",
    "license",
    "author",
    "published",
    "declared_language",
    "dump",
    "category",
)
"""Columns of `DOCUMENTS` that Parquet encodes as a dictionary; values of the others hardly repeat,
and looking them up took 7 % of the time of writing.
"""

DOCUMENTS = pa.schema(
    [
        ("id", pa.string()),  # 32 hex digits: blake2b-128 of what `tasks.ingest.readers` says
        ("text", pa.string()),  # UTF-8, NFC, no control characters but \n and \t
        (
            "prompt",
            pa.string(),
        ),  # comes before `text`, without loss (Colossal's `source`); often ""
        ("url", pa.string()),
        ("date", pa.string()),  # ISO 8601, "" where the source gives none
        ("source", pa.string()),
        ("file", pa.string()),  # name of the input file
        ("offset", pa.int64()),  # byte offset of the record in that file
        # What the record states about itself; null where it does not. Artifacts of ingest before
        # version 4 lack these columns, those before version 5 `dump`, before version 6 `category`.
        ("license", pa.string()),
        ("title", pa.string()),
        ("author", pa.string()),
        ("published", pa.string()),  # ISO 8601; `date` of a web page is when it was crawled
        ("declared_language", pa.string()),  # as declared: a BCP 47 tag, a name; langid detects
        ("dump", pa.string()),  # the crawl that its page is of, as FineWeb calls it
        ("category", pa.string()),  # the value of the field that the recipe's category names
    ]
)

WRITING: dict[str, Any] = {
    "compression": COMPRESSION,
    "use_dictionary": list(_REPEATING),
    "data_page_version": "2.0",  # lengths and nulls are not compressed
    "write_statistics": [name for name in DOCUMENTS.names if name != "text"],
}
"""Options of `pq.ParquetWriter` for `DOCUMENTS`. Nobody looks for texts by their first and last in
the alphabet; without those, and with pages of version 2, writing takes 5 % less.
"""
