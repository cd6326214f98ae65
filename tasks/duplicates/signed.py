"""Read the rows of a part: signatures, text hashes, shingle sets, preferences and ids.

Files are read block by block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.stage import StageError
from tasks.duplicates.parts import SignedPart

ID_BYTES = 32
BLOCK_ROWS = 10_000
"""Rows read at once if memory allows: 9 MB of signatures with 112 values."""
SETS_BYTES = 4 << 20
"""Bytes of shingle sets held at once, unless a single document has more."""

_PAGE_BYTES = 1 << 20


@dataclass(frozen=True)
class SignatureShape:
    """Shape of signatures: bands, and MinHash values (rows) in each."""

    bands: int
    rows: int


@dataclass(frozen=True)
class SignedBlock:
    """k eligible rows of a part, ascending, of which s have a shingle and hence a signature."""

    rows: npt.NDArray[np.int64]  # (k,): positions in the part
    text_hashes: npt.NDArray[np.uint64]  # (k, 2)
    shingled: npt.NDArray[np.bool_]  # (k,)
    signatures: npt.NDArray[np.uint64]  # (s, bands * rows)


def eligible_rows(part: SignedPart) -> npt.NDArray[np.int64]:
    """Rows that cut left, and an election before, ascending; all rows of an earlier crawl."""
    if part.cut is None:
        return np.arange(part.rows)
    left = pq.read_table(part.cut, columns=["reason"])["reason"].is_null().to_numpy()
    if part.dropped is not None:
        kind = pq.read_table(part.dropped, columns=["kind"])["kind"]
        left = left & kind.is_null().to_numpy()
    return np.flatnonzero(left)


def blocks(part: SignedPart, signing: SignatureShape, block_rows: int) -> Iterator[SignedBlock]:
    """Hashes and signatures of a part's eligible rows, about `block_rows` at once."""
    for rows, table in read_rows(
        part.signatures, ["text_hash", "signature"], eligible_rows(part), block_rows
    ):
        signatures = table["signature"].combine_chunks()
        yield SignedBlock(
            rows,
            text_hashes(table["text_hash"]),
            signatures.is_valid().to_numpy(zero_copy_only=False),
            _values(signatures, signing, part),
        )


def read_rows(
    file: Path, columns: list[str], rows: npt.NDArray[np.int64], block_rows: int = 1
) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
    """Yield (rows, their columns) of a file, about `block_rows` at once; `rows` must ascend.

    Row groups without a wanted row are not read.
    """
    reader = pq.ParquetFile(file)
    sizes = [reader.metadata.row_group(group).num_rows for group in range(reader.num_row_groups)]
    starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    edges = np.searchsorted(rows, starts)
    tables: list[pa.Table] = []
    first = taken = 0
    for group in range(len(sizes)):
        wanted = rows[edges[group] : edges[group + 1]]
        if len(wanted):
            table = reader.read_row_group(group, columns=columns)
            tables.append(
                table if len(wanted) == len(table) else table.take(pa.array(wanted - starts[group]))
            )
            taken += len(wanted)
        if taken >= block_rows or (taken and group == len(sizes) - 1):
            yield rows[first : first + taken], pa.concat_tables(tables)
            first, taken, tables = first + taken, 0, []


def read_sets(
    file: Path, rows: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
    """Yield (rows, their text hashes and shingle sets) of a signatures file; `rows` must ascend.

    A row group of long documents holds hundreds of megabytes of shingles: it is read one document
    at a time, and yielded in tables of about `SETS_BYTES`.
    """
    columns = ["text_hash", "shingle_set"]
    reader = pq.ParquetFile(file, buffer_size=_PAGE_BYTES, pre_buffer=False)
    start = 0
    for group in range(reader.num_row_groups):
        metadata = reader.metadata.row_group(group)
        low, high = np.searchsorted(rows, (start, start + metadata.num_rows))
        wanted = rows[low:high] - start
        start += metadata.num_rows
        if not len(wanted):
            continue
        chunks = (metadata.column(index) for index in range(metadata.num_columns))
        set_bytes = sum(
            chunk.total_uncompressed_size
            for chunk in chunks
            if chunk.path_in_schema.startswith("shingle_set")
        )
        if set_bytes > SETS_BYTES:
            yield from _one_by_one(reader.iter_batches(1, [group], columns), wanted, rows[low:high])
            continue
        table = reader.read_row_group(group, columns=columns)
        yield rows[low:high], table if len(wanted) == len(table) else table.take(pa.array(wanted))


def _one_by_one(
    batches: Iterator[pa.RecordBatch], wanted: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
    """Join those of `batches` (one row each) whose numbers are `wanted`, up to `SETS_BYTES`.

    Yields (rows, table); `rows` are the numbers of `wanted` in the file.
    """
    left = set(wanted.tolist())
    held: list[pa.RecordBatch] = []
    first = 0
    for number, batch in enumerate(batches):
        if number not in left:
            continue
        held.append(batch)
        left.remove(number)
        if not left or sum(row.nbytes for row in held) >= SETS_BYTES:
            yield rows[first : first + len(held)], pa.Table.from_batches(held)
            first, held = first + len(held), []
        if not left:
            return


def text_hashes(column: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """A null-free binary(16) column as numbers, shape (rows, 2)."""
    array = column.combine_chunks()
    words = np.frombuffer(array.buffers()[1], np.uint64) if len(array) else np.empty(0, np.uint64)
    return words.reshape(-1, 2)[array.offset : array.offset + len(array)]


def _values(
    signatures: pa.FixedSizeListArray, signing: SignatureShape, part: SignedPart
) -> npt.NDArray[np.uint64]:
    size = signing.bands * signing.rows
    if signatures.type.list_size != size:
        raise StageError(
            f"{part.label}: signatures have {signatures.type.list_size} values, but bands * rows "
            f"is {signing.bands} * {signing.rows} = {size}: rebuild the signatures with the bands "
            "and rows of the recipe's section dedup"
        )
    values: npt.NDArray[np.uint64] = signatures.flatten().to_numpy().reshape(-1, size)
    return values


def preferences(part: SignedPart, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Sort keys by preference, shape (rows, len(prefer)): lower is better, NaN (no value) worst.

    A list counts by its length.
    """
    keys = np.full((len(rows), len(part.prefer)), np.nan)
    for column, entry in enumerate(part.prefer):
        if entry.file is not None and len(rows):
            values = pq.read_table(entry.file, columns=[entry.column])[entry.column].take(
                pa.array(rows)
            )
            if pa.types.is_list(values.type):
                values = pc.list_value_length(values)
            keys[:, column] = pc.fill_null(values.cast(pa.float64()), float("nan")).to_numpy()
            keys[:, column] *= -1.0 if entry.descending else 1.0
    return keys


def ids(part: SignedPart, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bytes_]:
    """The ids of some rows in UTF-8, shape (rows,)."""
    column = (
        pq.read_table(part.documents, columns=["id"])["id"].take(pa.array(rows)).combine_chunks()
    )
    lengths = pc.binary_length(column).to_numpy()
    if (longest := int(lengths.max(initial=0))) > ID_BYTES:
        raise StageError(
            f"{part.label} has an id of {longest} bytes, longer than the {ID_BYTES} that ingest "
            "writes: ingest the source again"
        )
    padded = np.zeros((len(rows), ID_BYTES), np.uint8)
    padded[np.arange(ID_BYTES) < lengths[:, None]] = _characters(column)
    return padded.view(f"S{ID_BYTES}").reshape(-1)


def _characters(column: pa.StringArray) -> npt.NDArray[np.uint8]:
    """The UTF-8 of all strings of a column, one after another."""
    if not len(column):
        return np.empty(0, np.uint8)
    offsets = np.frombuffer(column.buffers()[1], np.int32)[
        column.offset : column.offset + len(column) + 1
    ]
    return np.frombuffer(column.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
