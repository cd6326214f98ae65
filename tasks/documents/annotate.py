"""Annotation: how stages write columns for documents, row-aligned with them.

Every part of the documents gets a Parquet file of the same name with the same rows in the same
order, one row group per row group. So readers put columns side by side without a join, and hold one
row group in memory.

Where the plan gives annotators the input `line_dedup`, they read text after its edits: what repeats
all over a source says nothing about a document's language, quality or neighbours. They judge the
whole record, prompt and text (`tasks.documents.records`), so the column `prompt` always comes with
`text`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.context import Context
from infra.ledger import Ledger
from infra.stage import StageError
from infra.store import Artifact, Shard
from tasks.documents import edits
from tasks.documents.hashes import parquet_options
from tasks.documents.records import PROMPT, record_bytes

Annotate = Callable[[pa.Table], pa.Table]

EDITED_BY = "line_dedup"
"""Role of the artifact whose edits apply before annotators read the text."""


@dataclass(frozen=True)
class AlignedPart:
    """One part of the documents and its row-aligned files: (local path, columns) each."""

    name: str
    source: str
    files: tuple[tuple[Path, tuple[str, ...]], ...]

    def tables(self) -> Iterator[pa.Table]:
        """One table per row group of the first file, all files' columns side by side."""
        readers = [(pq.ParquetFile(path), list(columns)) for path, columns in self.files]
        rows = {reader.metadata.num_rows for reader, _ in readers}
        if len(rows) != 1:
            raise StageError(
                f"{self.name}: row-aligned files have different numbers of rows, {sorted(rows)}: "
                f"{[str(path) for path, _ in self.files]}; rebuild the stage that wrote the odd one"
            )
        for group in range(readers[0][0].num_row_groups):
            columns: dict[str, pa.ChunkedArray] = {}
            for reader, names in readers:
                table = reader.read_row_group(group, columns=names)
                columns.update(zip(table.column_names, table.columns, strict=True))
            yield pa.table(columns)


def parts(
    documents: Artifact,
    columns: Sequence[str],
    annotations: Mapping[str, tuple[Artifact, Sequence[str]]],
) -> list[AlignedPart]:
    """The parts of a documents artifact, with columns of row-aligned artifacts."""
    return [
        AlignedPart(
            name,
            documents.name,
            (
                (documents.path(name), tuple(columns)),
                *((artifact.path(name), tuple(names)) for artifact, names in annotations.values()),
            ),
        )
        for name in documents.files("part-")
    ]


def annotate(
    context: Context,
    function: Annotate,
    *,
    read: Sequence[str] = ("text",),
    annotations: Mapping[str, Sequence[str]] | None = None,
    timeout_s: float | None = None,
) -> dict[str, dict[str, Any]]:
    """Run `function` on every row group of the documents, and write the columns it returns.

    `read`: document columns that the function sees; `annotations`: role -> columns of that role's
    row-aligned artifact (a role without an input is left out). With an input `line_dedup`, `text`
    is the text after its edits, and column `edits` has the edits. Returns {"rows", "ledger"} per
    part; the ledger counts every document as kept, and the bytes that edits removed, by the column
    `language` if the function sees or returns one.
    """
    items = {Path(part.name).stem: part for part in text_parts(context, read, annotations)}
    return context.map(functools.partial(annotate_part, function), items, timeout_s=timeout_s)


def text_parts(
    context: Context,
    read: Sequence[str] = ("text",),
    annotations: Mapping[str, Sequence[str]] | None = None,
) -> list[AlignedPart]:
    """The parts of input "documents", as `annotate` reads them; same arguments."""
    wanted = {**(annotations or {}), EDITED_BY: (edits.COLUMN,)}
    present = {
        role: (annotated, columns)
        for role, columns in wanted.items()
        if (annotated := context.optional(role)) is not None
    }
    return parts(context.input("documents"), list(dict.fromkeys([*read, "text", PROMPT])), present)


def annotate_part(function: Annotate, part: AlignedPart, shard: Shard) -> dict[str, Any]:
    """Annotate one part; runs in a worker."""
    ledger = Ledger()
    rows = 0
    with shard.create(part.name) as path:
        writer: pq.ParquetWriter | None = None
        for plain in part.tables():
            table, taken = through_edits(plain)
            annotations = function(table)
            if annotations.num_rows != table.num_rows:
                raise StageError(
                    f"{part.name}: {table.num_rows} documents but {annotations.num_rows} "
                    "annotations; an annotator must return one row per document"
                )
            if writer is None:
                writer = pq.ParquetWriter(
                    path, annotations.schema, **parquet_options(annotations.schema)
                )
            writer.write_table(annotations)
            rows += table.num_rows
            _count(ledger, part.source, table, annotations, taken)
        if writer is None:  # a part without rows: annotate an empty table for the schema
            empty = function(pa.table({name: pa.array([], type_) for name, type_ in _types(part)}))
            writer = pq.ParquetWriter(path, empty.schema, **parquet_options(empty.schema))
        writer.close()
    return {"rows": rows, "ledger": ledger.to_json()}


def _types(part: AlignedPart) -> Iterator[tuple[str, pa.DataType]]:
    for path, columns in part.files:
        schema = pq.read_schema(path)
        for name in columns:
            yield name, schema.field(name).type


def through_edits(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The table with `text` after the edits in column `edits` (if any), and what they removed."""
    given = [table[edits.COLUMN]] if edits.COLUMN in table.column_names else []
    edited = edits.apply_columns(table["text"], given)
    return table.set_column(table.column_names.index("text"), "text", edited.texts), edited.taken


def _count(
    ledger: Ledger, source: str, table: pa.Table, annotations: pa.Table, taken: pa.Table
) -> None:
    language = next(
        (t["language"] for t in (annotations, table) if "language" in t.column_names), None
    )
    if language is None:
        language = pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    count_edited(ledger, source, language, record_bytes(table), taken)


def count_edited(
    ledger: Ledger, source: str, language: pa.ChunkedArray, sizes: pa.ChunkedArray, taken: pa.Table
) -> None:
    """Count N documents as kept, with `sizes` bytes each after edits.

    `taken` is what the edits removed, see `edits.Edited`: counted as read and as edited.
    """
    table = pa.table({"language": language, "bytes": sizes})
    for row in (
        table.group_by("language").aggregate([("bytes", "sum"), ("bytes", "count")]).to_pylist()
    ):
        for side in ("read", "kept"):
            ledger.add(
                source,
                row["language"],
                side,
                documents=row["bytes_count"],
                bytes=row["bytes_sum"] or 0,
            )
    by_reason = taken.append_column("language", language.take(taken["row"]))
    for row in by_reason.group_by(["language", "reason"]).aggregate([("bytes", "sum")]).to_pylist():
        ledger.add(source, row["language"], "read", documents=0, bytes=row["bytes_sum"])
        ledger.add(
            source, row["language"], "edited", row["reason"], documents=0, bytes=row["bytes_sum"]
        )


def ledger_of(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The merged ledger of all parts, in the form of `Outcome`."""
    return Ledger.merged(result["ledger"] for result in results.values()).to_json()
