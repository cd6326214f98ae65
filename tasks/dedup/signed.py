"""The inputs of dedup: parts of earlier crawls' indexes and of this run's sources, numbered, and
read block by block.

Every row of every part has a number, the rows of earlier crawls first. A number says where a
document lies, and nothing about its rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.stage import StageError
from infra.store import Artifact
from tasks.dedup.agreement import SIGNING, agree, check_index
from tasks.dedup.stage import PREFERENCES, DedupParameters
from tasks.documents.selected import INDEX_FOLDER

INDEX_PREFIX = f"{INDEX_FOLDER}/part-"
MOST_DOCUMENTS = 2**32 - 2
ID_BYTES = 32
BLOCK_ROWS = 10_000
"""Rows read at once where memory allows: 9 MB of signatures with 112 values."""
SETS_BYTES = 4 << 20
"""Shingle sets held at once, where no document has more by itself."""

_PAGE_BYTES = 1 << 20


@dataclass(frozen=True)
class Preference:
    """One entry of `prefer`: a column of a part's file. None: there is no such annotation of the
    source.
    """

    file: Path | None
    column: str
    descending: bool


@dataclass(frozen=True)
class Part:
    """One part and the files row-aligned with it; `start` is the number of its first row.

    `crawl` is "" for this run's documents and names the artifact for an earlier crawl's; `order`
    puts crawls in order.
    """

    number: int
    start: int
    rows: int
    source: str
    name: str
    crawl: str
    order: int
    documents: Path  # has the column id; text only where it is of this run
    signatures: Path
    cut: Path | None
    edits: Path | None  # of line_dedup, through which signatures saw the text
    prefer: tuple[Preference, ...]

    @property
    def label(self) -> str:
        """What errors call it."""
        return f"{self.crawl or self.source}/{self.name}"


@dataclass(frozen=True)
class Signing:
    """Shape of signatures."""

    bands: int
    rows: int


@dataclass(frozen=True)
class Block:
    """Eligible rows of a part, ascending, with k documents of which s have a shingle."""

    rows: npt.NDArray[np.int64]  # (k,): in the part
    text_hashes: npt.NDArray[np.uint64]  # (k, 2)
    shingled: npt.NDArray[np.bool_]  # (k,)
    signatures: npt.NDArray[np.uint64]  # (s, bands * rows)


def find_parts(
    inputs: Mapping[str, Sequence[Artifact]], parameters: DedupParameters
) -> tuple[Part, ...]:
    """All parts: earlier crawls in order, then this run's by source and name. `StageError` where
    something is amiss.
    """
    history = inputs.get("history", ())
    _check_signing(inputs["signatures"], history, parameters)
    by_role = {
        role: {artifact.name: artifact for artifact in found} for role, found in inputs.items()
    }
    (cut,) = by_role["cut"].values()
    documents, signatures = by_role["documents"], by_role["signatures"]
    if documents.keys() != signatures.keys():
        raise StageError(
            f"documents are of {sorted(documents)}, signatures of {sorted(signatures)}: dedup "
            "needs both of each source"
        )
    crawls = _crawls(parameters.crawls, sorted(documents))
    found: list[Part] = []
    start = 0

    def add(rows: int, **values: Any) -> None:
        nonlocal start
        found.append(Part(number=len(found), start=start, rows=rows, **values))
        start += rows

    unranked = tuple(Preference(None, entry, descending=False) for entry in parameters.prefer)
    for order, artifact in enumerate(history):
        for name in artifact.files(INDEX_PREFIX):
            path = artifact.path(name)
            place = {
                "source": artifact.name,
                "name": Path(name).name,
                "crawl": artifact.identity,
                "order": order,
            }
            files = {
                "documents": path,
                "signatures": path,
                "cut": None,
                "edits": None,
                "prefer": unranked,
            }
            add(pq.read_metadata(path).num_rows, **place, **files)
    for source in sorted(documents):
        for name in documents[source].files("part-"):
            path = documents[source].path(name)
            rows = pq.read_metadata(path).num_rows
            beside = {
                "signatures": signatures[source].path(name),
                "cut": cut.path(f"{source}/{name}"),
            }
            if (edited_by := by_role.get("line_dedup", {}).get(source)) is not None:
                beside["edits"] = edited_by.path(name)
            prefer = tuple(_preference(entry, by_role, source, name) for entry in parameters.prefer)
            for file in (*beside.values(), *(one.file for one in prefer if one.file is not None)):
                if (there := pq.read_metadata(file).num_rows) != rows:
                    raise StageError(
                        f"{source}/{name} has {rows} documents but {file} has {there} rows: "
                        "rebuild that artifact"
                    )
            order = len(history) + crawls[source]
            where = {
                "source": source,
                "name": name,
                "crawl": "",
                "order": order,
                "documents": path,
                "prefer": prefer,
            }
            add(rows, **where, **{"edits": None, **beside})
    if start > MOST_DOCUMENTS:
        raise StageError(
            f"{start:,} documents, one run of dedup takes {MOST_DOCUMENTS:,}: take sources apart "
            "by crawl"
        )
    return tuple(found)


def _check_signing(
    signatures: Sequence[Artifact], history: Sequence[Artifact], parameters: DedupParameters
) -> None:
    """All signatures must come from one set of parameters, and from those that dedup was given."""
    wanted: dict[str, Any] = {
        name: getattr(parameters, name) for name in SIGNING if hasattr(parameters, name)
    }
    for artifact in signatures:
        found = {**artifact.manifest.parameters, "version": artifact.manifest.stage_version}
        agree(
            artifact.identity,
            found,
            wanted,
            "rebuild the signatures of all sources from the recipe's section dedup",
        )
    for artifact in history:
        check_index(artifact, wanted)


def _crawls(crawls: Sequence[Sequence[str]], sources: Sequence[str]) -> dict[str, int]:
    """Source -> its crawl's place among this run's; sources that are not named come last,
    together.
    """
    named = {source: number for number, crawl in enumerate(crawls) for source in crawl}
    if unknown := sorted(set(named) - set(sources)):
        raise StageError(
            f"dedup.crawls names {', '.join(unknown)}, which are no sources that dedup reads; "
            f"there is: {', '.join(sources)}"
        )
    return {source: named.get(source, len(crawls)) for source in sources}


def _preference(
    entry: str, by_role: Mapping[str, Mapping[str, Artifact]], source: str, name: str
) -> Preference:
    column = entry.removeprefix("-")
    artifact = by_role.get(PREFERENCES[column], {}).get(source)
    path = artifact.path(name) if artifact is not None else None
    if path is not None and column not in (there := pq.read_schema(path).names):
        raise StageError(
            f"dedup.prefer: {path} has no column {column!r}; it has {', '.join(there)}"
        )
    return Preference(path, column, descending=not entry.startswith("-"))


def eligible_rows(part: Part) -> npt.NDArray[np.int64]:
    """Rows that no cut took, ascending."""
    if part.cut is None:
        return np.arange(part.rows)
    return np.flatnonzero(
        pq.read_table(part.cut, columns=["reason"])["reason"].is_null().to_numpy()
    )


def blocks(part: Part, signing: Signing, block_rows: int) -> Iterator[Block]:
    """Hashes and signatures of a part's eligible rows, about `block_rows` at once."""
    for rows, table in read_rows(
        part.signatures, ["text_hash", "signature"], eligible_rows(part), block_rows
    ):
        signatures = table["signature"].combine_chunks()
        yield Block(
            rows,
            text_hashes(table["text_hash"]),
            signatures.is_valid().to_numpy(zero_copy_only=False),
            _values(signatures, signing, part),
        )


def read_rows(
    file: Path, columns: list[str], rows: npt.NDArray[np.int64], block_rows: int = 1
) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
    """Columns of some rows, ascending, of a file, about `block_rows` at once; row groups with none
    are not read.
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
    """Text hashes and shingle sets of some rows, ascending, of signatures.

    A row group of long documents holds hundreds of megabytes of shingles: it is read a document at
    a time and comes in tables of about `SETS_BYTES`.
    """
    columns = ["text_hash", "shingle_set"]
    reader = pq.ParquetFile(file, buffer_size=_PAGE_BYTES, pre_buffer=False)
    start = 0
    for group in range(reader.num_row_groups):
        there = reader.metadata.row_group(group)
        low, high = np.searchsorted(rows, (start, start + there.num_rows))
        wanted = rows[low:high] - start
        start += there.num_rows
        if not len(wanted):
            continue
        chunks = (there.column(index) for index in range(there.num_columns))
        if (
            sum(
                one.total_uncompressed_size
                for one in chunks
                if one.path_in_schema.startswith("shingle_set")
            )
            > SETS_BYTES
        ):
            yield from _one_by_one(reader.iter_batches(1, [group], columns), wanted, rows[low:high])
            continue
        table = reader.read_row_group(group, columns=columns)
        yield rows[low:high], table if len(wanted) == len(table) else table.take(pa.array(wanted))


def _one_by_one(
    batches: Iterator[pa.RecordBatch], wanted: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
    """`batches` hold one row each; those with the numbers `wanted` are yielded together, as
    `rows`.
    """
    left = set(wanted.tolist())
    held: list[pa.RecordBatch] = []
    first = 0
    for number, batch in enumerate(batches):
        if number not in left:
            continue
        held.append(batch)
        left.remove(number)
        if not left or sum(one.nbytes for one in held) >= SETS_BYTES:
            yield rows[first : first + len(held)], pa.Table.from_batches(held)
            first, held = first + len(held), []
        if not left:
            return


def text_hashes(column: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """A null-free binary(16) column as numbers, shape (rows, 2)."""
    array = column.combine_chunks()
    whole = np.frombuffer(array.buffers()[1], np.uint64) if len(array) else np.empty(0, np.uint64)
    return whole.reshape(-1, 2)[array.offset : array.offset + len(array)]


def _values(
    signatures: pa.FixedSizeListArray, signing: Signing, part: Part
) -> npt.NDArray[np.uint64]:
    size = signing.bands * signing.rows
    if signatures.type.list_size != size:
        raise StageError(
            f"{part.label}: signatures have {signatures.type.list_size} values, bands * rows is "
            f"{signing.bands} * {signing.rows} = {size}: take signatures and dedup from one recipe "
            "section"
        )
    values: npt.NDArray[np.uint64] = signatures.flatten().to_numpy().reshape(-1, size)
    return values


def preferences(part: Part, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Shape (rows, len(prefer)): lower is better, NaN (no value) is worst. A list counts by its
    length.
    """
    found = np.full((len(rows), len(part.prefer)), np.nan)
    for at, entry in enumerate(part.prefer):
        if entry.file is not None and len(rows):
            values = pq.read_table(entry.file, columns=[entry.column])[entry.column].take(
                pa.array(rows)
            )
            if pa.types.is_list(values.type):
                values = pc.list_value_length(values)
            found[:, at] = pc.fill_null(values.cast(pa.float64()), float("nan")).to_numpy()
            found[:, at] *= -1.0 if entry.descending else 1.0
    return found


def ids(part: Part, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bytes_]:
    """The ids of some rows in UTF-8, shape (rows,)."""
    column = (
        pq.read_table(part.documents, columns=["id"])["id"].take(pa.array(rows)).combine_chunks()
    )
    lengths = pc.binary_length(column).to_numpy()
    if (longest := int(lengths.max(initial=0))) > ID_BYTES:
        raise StageError(
            f"{part.label} has an id of {longest} bytes, an id has {ID_BYTES} at most: ingest it "
            "again"
        )
    padded = np.zeros((len(rows), ID_BYTES), np.uint8)
    padded[np.arange(ID_BYTES) < lengths[:, None]] = _characters(column)
    return padded.view(f"S{ID_BYTES}").reshape(-1)


def _characters(column: pa.StringArray) -> npt.NDArray[np.uint8]:
    """The UTF-8 of all strings, one after another."""
    if not len(column):
        return np.empty(0, np.uint8)
    offsets = np.frombuffer(column.buffers()[1], np.int32)[
        column.offset : column.offset + len(column) + 1
    ]
    return np.frombuffer(column.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
