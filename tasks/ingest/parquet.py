"""Reads Parquet by row group, in batches of rows of bounded size.

A row's place is its number in the file, so that a row has the same id wherever the file lies, and
whatever part of it is read at once. A file that is cut short is one failure; a damaged row group
costs its own rows.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.documents.schema import ROW_GROUP_DOCUMENTS
from tasks.ingest.lines import ByteRange
from tasks.ingest.parquet_columns import Columns, projection
from tasks.ingest.raw_documents import Unreadable

BATCH_BYTES = 16 << 20
"""A batch ends at about so many bytes of the wanted columns, or at `ROW_GROUP_DOCUMENTS` rows."""

STREAM_BYTES = 1 << 20
"""Read at once of a column chunk. Arrow would otherwise hold a whole chunk, which in a file of one
row group is the whole column.
"""

_DAMAGE = (pa.ArrowException, OSError, EOFError)
"""What Arrow raises for bytes that are no Parquet; readers of remote files raise `StageError`."""


class Batch(NamedTuple):
    """Consecutive rows, `first` being the number of the first one in its file."""

    first: int
    rows: pa.RecordBatch


class Lost(NamedTuple):
    """Consecutive rows that cannot be read, `first` being the number of the first one."""

    first: int
    rows: int
    bytes: int


def open_parquet(
    source: Path | io.RawIOBase | io.BytesIO, metadata: pq.FileMetaData | None = None
) -> pq.ParquetFile:
    """A file opened for `read_batches`. Raises Unreadable("parquet") where it has no whole footer.

    Column chunks are streamed: with 10^7 rows in one row group, memory stays at some MB. Pages are
    held against their checksums where a file has them, as Spark's have; without, zeros in a page
    that is not compressed are text like any other.
    """
    given = str(source) if isinstance(source, Path) else source
    try:
        return pq.ParquetFile(
            given,
            metadata=metadata,
            pre_buffer=False,
            buffer_size=STREAM_BYTES,
            page_checksum_verification=True,
        )
    except _DAMAGE as error:
        if isinstance(source, Path) and not source.is_file():
            raise
        raise Unreadable("parquet") from error


def row_groups(metadata: pq.FileMetaData, byte_range: ByteRange | None) -> list[int]:
    """The row groups whose data begins in a byte range of the file, or all.

    So byte ranges of bytes, which need no footer to plan, read each row group once.
    """
    numbers = range(metadata.num_row_groups)
    if byte_range is None:
        return list(numbers)
    return [at for at in numbers if byte_range.start <= _begin(metadata, at) < byte_range.stop]


def _begin(metadata: pq.FileMetaData, number: int) -> int:
    """Where the data of a row group begins in the file."""
    group = metadata.row_group(number)
    if not group.num_columns:
        return 0
    column = group.column(0)
    return int(
        min(
            offset
            for offset in (column.dictionary_page_offset, column.data_page_offset)
            if offset is not None
        )
    )


def column_paths(metadata: pq.FileMetaData) -> list[str]:
    """Paths of the columns, as the schema has them. Every row group states its own again, which in
    a damaged file may not even be text.
    """
    return [metadata.schema.column(at).path for at in range(metadata.num_columns)]


def column_ranges(
    metadata: pq.FileMetaData, groups: Sequence[int], names: Sequence[str]
) -> list[tuple[int, int]]:
    """The bytes [start, stop) that hold the named columns of row groups, in the file's order."""
    found = []
    paths = column_paths(metadata)
    for number in groups:
        group = metadata.row_group(number)
        for path, column in zip(paths, map(group.column, range(group.num_columns)), strict=False):
            if any(path == name or path.startswith(f"{name}.") for name in names):
                offsets = (column.dictionary_page_offset, column.data_page_offset)
                start = min(offset for offset in offsets if offset is not None)
                found.append((start, start + column.total_compressed_size))
    return sorted(found)


def read_batches(
    file: pq.ParquetFile, groups: Sequence[int], columns: Columns
) -> Iterator[Batch | Lost]:
    """The rows of some row groups, with the named columns only, in batches of bounded size."""
    names = projection(file.schema_arrow, columns)
    firsts, paths = _first_rows(file.metadata), column_paths(file.metadata)
    for number in groups:
        group = file.metadata.row_group(number)
        first, stop = firsts[number], firsts[number] + group.num_rows
        batches = file.iter_batches(
            _batch_rows(group, paths, names), row_groups=[number], columns=names, use_threads=False
        )
        while first < stop:
            try:
                rows = next(batches)
            except StopIteration:
                break
            except _DAMAGE:
                break
            yield Batch(first, rows)
            first += rows.num_rows
        if first < stop:
            size = sum(
                stop - start for start, stop in column_ranges(file.metadata, [number], names)
            )
            yield Lost(first, stop - first, size * (stop - first) // group.num_rows)


def _first_rows(metadata: pq.FileMetaData) -> list[int]:
    firsts = [0]
    for number in range(metadata.num_row_groups):
        firsts.append(firsts[-1] + metadata.row_group(number).num_rows)
    return firsts


def _batch_rows(group: Any, paths: Sequence[str], names: Sequence[str]) -> int:
    """Rows of a batch, from the mean size of a row."""
    columns = zip(paths, map(group.column, range(group.num_columns)), strict=False)
    size = sum(
        column.total_uncompressed_size
        for path, column in columns
        if any(path.split(".")[0] == name.split(".")[0] for name in names)
    )
    mean = max(size // max(group.num_rows, 1), 1)
    return int(min(max(BATCH_BYTES // mean, 1), ROW_GROUP_DOCUMENTS))
