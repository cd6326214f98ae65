"""The documents of a part of Parquet files, a table at a time."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.stage import Pin
from tasks.documents.schema import DOCUMENTS, ROW_GROUP_DOCUMENTS
from tasks.ingest.columnar import REASONS, Judged, Limits, direct, iso_dates, judge
from tasks.ingest.fields import FieldReader, fields_of
from tasks.ingest.parquet import Batch, Lost, read_batches, row_groups
from tasks.ingest.parquet_columns import (
    Columns,
    WrongColumns,
    column_at,
    columns_of,
    is_string,
    leaf_names,
)
from tasks.ingest.parquet_source import Opened, opened
from tasks.ingest.part import ROW_GROUP_TEXT_BYTES, Counts, kept, tables_of
from tasks.ingest.parts import FileSlice, PartInput
from tasks.ingest.raw_documents import SAMPLED_OUT, RawDocument, Rejected, Unreadable
from tasks.ingest.readers import row_document, sampler
from tasks.ingest.rejected import HEAD_BYTES
from tasks.ingest.string_columns import strings


def parquet_tables(part: PartInput, counts: Counts) -> Iterator[pa.Table]:
    """The first `part.limit` documents of a part, in tables of a row group each."""
    return _row_groups(_tables(part, counts))


def _tables(part: PartInput, counts: Counts) -> Iterator[pa.Table]:
    for file_slice in part.slices:
        left = None if part.limit is None else part.limit - counts.statistics["documents"]
        if left == 0:
            return
        try:
            with opened(file_slice.pin, part.access) as source:
                if source.ranges is None:
                    counts.read_whole(file_slice.pin, source.sha256)
                yield from _file_tables(source, file_slice, part, counts)
        except Unreadable as error:
            if file_slice.is_first:
                pin = file_slice.pin
                counts.reject("failed", str(error), lost_bytes=pin.bytes, file=pin.name)
                counts.rejected.add(Rejected("failed", str(error)), pin.name)


def _file_tables(
    source: Opened, file_slice: FileSlice, part: PartInput, counts: Counts
) -> Iterator[pa.Table]:
    file = source.file
    groups = row_groups(file.metadata, file_slice.byte_range)
    try:
        columns = columns_of(file.schema_arrow, part.parameters.fields, strict=False)
    except WrongColumns:
        _count_without_text(file, groups, counts, file_slice.pin.name)
        return
    source.want(groups, columns)
    pin = replace(file_slice.pin, sha256=source.sha256)
    if not direct(file.schema_arrow, columns):
        records = _records(file, groups, columns, part, counts, pin)
        left = None if part.limit is None else part.limit - counts.statistics["documents"]
        # nothing is read after the last row that is wanted
        yield from tables_of(itertools.islice(kept(records, part, counts, pin), left))
        return
    given = part.parameters
    limits = Limits(given.sample, given.min_characters, given.max_page_bytes, given.max_text_bytes)
    key = bytes.fromhex(pin.sha256)
    for batch in read_batches(file, groups, columns):
        if not isinstance(batch, Batch):
            _count_lost(batch, counts, pin.name)
            continue
        left = None if part.limit is None else part.limit - counts.statistics["documents"]
        judged = judge(batch, columns, key, limits, counts.tally, left)
        _count(judged, counts, batch, columns, pin.name)
        yield _as_documents(judged.documents, part.source, pin.name)
        if left is not None and judged.documents.num_rows == left:
            return


def _count(judged: Judged, counts: Counts, batch: Batch, columns: Columns, file: str) -> None:
    counts.statistics.update(judged.statistics)
    for code, records in judged.rejected.items():
        side, reason = REASONS[code]
        counts.reject(side, reason, records)
        for row in judged.examples.get(code, ()):
            url, text = (_beginning(batch, name, row) for name in (columns.url, columns.text[0]))
            place = (batch.first + row, 0)
            example = Rejected(
                side, reason, place=place, url=url.decode(errors="replace"), head=text
            )
            counts.rejected.add(example, file)


def _beginning(batch: Batch, name: str, row: int) -> bytes:
    """The first bytes of a value of a string column; none where it is null or has no column."""
    value = column_at(batch.rows, name)[row] if name else pa.scalar(None)
    if isinstance(value, pa.DictionaryScalar):
        value = value.value
    return memoryview(value.as_buffer())[:HEAD_BYTES].tobytes() if value.is_valid else b""


def _count_lost(lost: Lost, counts: Counts, file: str) -> None:
    counts.reject("failed", "parquet", lost.rows, lost.bytes, file)
    counts.rejected.add(Rejected("failed", "parquet", place=(lost.first, 0)), file)


def _count_without_text(file: pq.ParquetFile, groups: list[int], counts: Counts, name: str) -> None:
    """Rows of a file that has no such column, or one of another kind, where other files have it."""
    rows = sum(file.metadata.row_group(group).num_rows for group in groups)
    if rows:
        counts.reject("failed", "field", rows)
        counts.rejected.add(Rejected("failed", "field"), name)
    counts.tally.records += rows
    counts.tally.textless += rows
    for column in leaf_names(file.schema_arrow):
        counts.tally.textless_names[column] += rows


def _as_documents(found: pa.Table, source: str, file: str) -> pa.Table:
    same = {"prompt": "", "source": source, "file": file}
    given = set(found.column_names)
    columns = [
        found[name] if name in given else _repeated(same.get(name), found.num_rows)
        for name in DOCUMENTS.names
    ]
    return pa.table(columns, schema=DOCUMENTS)


@functools.lru_cache(maxsize=16)
def _repeated(value: str | None, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), rows)


def _records(
    file: pq.ParquetFile,
    groups: list[int],
    columns: Columns,
    part: PartInput,
    counts: Counts,
    pin: Pin,
) -> Iterator[RawDocument | Rejected]:
    """Rows with several columns of text, a prompt or lists of strings, one by one."""
    fields = fields_of(part.parameters.fields, file.schema_arrow.names)
    reader = FieldReader(fields, counts.tally)
    wanted = sampler(bytes.fromhex(pin.sha256), part.parameters.sample)
    for batch in read_batches(file, groups, columns):
        if not isinstance(batch, Batch):
            _count_lost(batch, counts, pin.name)
            continue
        rows, undecodable = _plain(batch.rows)
        for place, (row, bad) in enumerate(zip(rows, undecodable, strict=True), batch.first):
            if not wanted(place, 0):
                yield SAMPLED_OUT
                continue
            if bad:
                yield Rejected("failed", "charset", place=(place, 0))
                continue
            yield row_document(reader, row, place, part.parameters.max_page_bytes)


def _plain(batch: pa.RecordBatch) -> tuple[list[dict[str, Any]], list[bool]]:
    """(rows with strings for bytes and for times, which of them hold bytes that are no UTF-8)."""
    bad = [False] * batch.num_rows
    columns = []
    for column in batch.columns:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if is_string(kind):
            column, undecodable = strings(column)
            bad = [one or bool(other) for one, other in zip(bad, undecodable, strict=True)]
            columns.append(column.to_pylist())
        elif pa.types.is_temporal(kind):
            columns.append(iso_dates(column).to_pylist())
        else:
            values = []
            for row, value in enumerate(column):
                try:
                    values.append(_decoded(value.as_py()))
                except UnicodeDecodeError:
                    values.append(None)
                    bad[row] = True
            columns.append(values)
    names = batch.schema.names
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)], bad


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [_decoded(element) for element in value]
    if isinstance(value, dict):
        return {name: _decoded(inner) for name, inner in value.items()}
    return value


def _row_groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Tables joined and cut so that each is a row group: `ROW_GROUP_DOCUMENTS` documents, or
    fewer of more than `ROW_GROUP_TEXT_BYTES`.
    """
    held: list[pa.Table] = []
    documents = size = 0
    for table in tables:
        while table.num_rows:
            take = min(table.num_rows, ROW_GROUP_DOCUMENTS - documents)
            piece = table.slice(0, take)
            table = table.slice(take)
            held.append(piece)
            documents += take
            size += pc.sum(pc.binary_length(piece["text"])).as_py()
            if documents == ROW_GROUP_DOCUMENTS or size >= ROW_GROUP_TEXT_BYTES:
                yield pa.concat_tables(held)
                held, documents, size = [], 0, 0
    if held:
        yield pa.concat_tables(held)
