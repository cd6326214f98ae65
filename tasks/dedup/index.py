"""Everything election needs of every eligible document, in arrays; and the text of the few that are compared.

About 220 bytes a document with 14 bands. Documents are held in order of preference: an index into these arrays is a
rank. Nothing here depends on how documents are cut into parts, except where the same file was given twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.stage import StageError
from infra.store import Artifact
from tasks.dedup.elect import band_keys
from tasks.dedup.similar import ShingleSets
from tasks.dedup.stage import DedupParameters
from tasks.documents.ledger import UNDETERMINED
from tasks.text.shingles import batches, shingle

_BLOCK_ROWS = 20_000
"""Signatures read at once: 18 MB with 112 values."""


@dataclass(frozen=True)
class Part:
    """One part of one source: its documents' file, and the files row-aligned with it."""

    source: str
    name: str
    documents: Path
    signatures: Path
    cut: Path
    perplexity: Path | None
    rows: int


@dataclass(frozen=True)
class Index:
    """Eligible documents. All arrays have the same first dimension; `part` and `language` index the tuples."""

    parts: tuple[Part, ...]
    languages: tuple[str, ...]
    part: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]
    id: npt.NDArray[np.bytes_]
    text_hash: npt.NDArray[np.uint64]  # (documents, 2)
    keys: npt.NDArray[np.uint64]  # (documents, bands)
    shingled: npt.NDArray[np.bool_]
    language: npt.NDArray[np.int32]
    length: npt.NDArray[np.int64]  # UTF-8 bytes of the text
    preference: npt.NDArray[np.float64]  # (documents, len(prefer)): lower is better, NaN is worst

    def __len__(self) -> int:
        return len(self.row)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources, sorted."""
        return tuple(sorted({part.source for part in self.parts}))

    def source_of(self) -> npt.NDArray[np.int64]:
        """For every document the index of its source in `sources`."""
        of_part = np.array([self.sources.index(part.source) for part in self.parts], dtype=np.int64)
        return of_part[self.part]

    def take(self, order: npt.NDArray[np.int64]) -> Index:
        """The documents `order`, in that order."""
        return replace(self, **{name: getattr(self, name)[order] for name in _ARRAYS})


_ARRAYS = ("part", "row", "id", "text_hash", "keys", "shingled", "language", "length", "preference")


def find_parts(inputs: Mapping[str, Sequence[Artifact]]) -> tuple[Part, ...]:
    """The parts of all sources, by source and name; `StageError` where an artifact or file is missing."""
    by_role = {role: {artifact.name: artifact for artifact in found} for role, found in inputs.items()}
    (cut,) = by_role["cut"].values()
    documents, signatures = by_role["documents"], by_role["signatures"]
    if documents.keys() != signatures.keys():
        raise StageError(
            f"documents are of {sorted(documents)}, signatures of {sorted(signatures)}: dedup needs both of each source"
        )
    parts = []
    for source in sorted(documents):
        for name in documents[source].files("part-"):
            path = documents[source].path(name)
            perplexity = by_role.get("perplexity", {}).get(source)
            part = Part(
                source,
                name,
                path,
                signatures[source].path(name),
                cut.path(f"{source}/{name}"),
                perplexity.path(name) if perplexity else None,
                pq.read_metadata(path).num_rows,
            )
            for file in (part.signatures, part.cut, part.perplexity):
                if file is not None and (rows := pq.read_metadata(file).num_rows) != part.rows:
                    raise StageError(
                        f"{source}/{name} has {part.rows} documents but {file} has {rows} rows: rebuild that artifact"
                    )
            parts.append(part)
    return tuple(parts)


def read_index(parts: tuple[Part, ...], parameters: DedupParameters) -> Index:
    """Read all eligible documents and put them in order of preference, then id, then source."""
    languages: dict[str, int] = {}
    blocks = [_empty(parameters)]
    for number, part in enumerate(parts):
        blocks.extend(_read_part(number, part, parameters, languages))
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in _ARRAYS}
    index = Index(parts=parts, languages=tuple(languages), **columns)
    missing = np.isnan(index.preference)
    values = np.where(missing, 0.0, index.preference)
    keys: list[npt.NDArray[Any]] = [index.row, index.part, index.id]
    for column in reversed(range(len(parameters.prefer))):
        keys += [values[:, column], missing[:, column]]
    return index.take(np.lexsort(keys))


def _read_part(
    number: int, part: Part, parameters: DedupParameters, languages: dict[str, int]
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    cut = pq.read_table(part.cut, columns=["reason", "language"])
    ids = pq.read_table(part.documents, columns=["id"])["id"]
    perplexity = pq.read_table(part.perplexity, columns=["perplexity"])["perplexity"] if part.perplexity else None
    eligible = cut["reason"].is_null().to_numpy()
    language = pc.fill_null(cut["language"], UNDETERMINED).combine_chunks().dictionary_encode()
    codes = [languages.setdefault(name, len(languages)) for name in language.dictionary.to_pylist()]
    language_of = np.array(codes, dtype=np.int32)[language.indices.to_numpy()]
    start = 0
    for batch in pq.ParquetFile(part.signatures).iter_batches(_BLOCK_ROWS):
        rows = start + np.flatnonzero(eligible[start : start + batch.num_rows])
        taken = batch.take(pa.array(rows - start))
        start += batch.num_rows
        length = taken["length"].to_numpy()
        yield {
            "part": np.full(len(rows), number, dtype=np.int32),
            "row": rows.astype(np.int32),
            "id": np.array(ids.take(pa.array(rows)).to_pylist(), dtype="S32"),
            "text_hash": _fixed(taken["text_hash"], np.uint64, 2),
            "keys": band_keys(_signatures(taken["signature"], parameters), parameters.bands, parameters.rows),
            "shingled": taken["signature"].is_valid().to_numpy(zero_copy_only=False),
            "language": language_of[rows],
            "length": length,
            "preference": _preference(parameters.prefer, length, perplexity, rows),
        }


def _empty(parameters: DedupParameters) -> dict[str, npt.NDArray[Any]]:
    return {
        "part": np.empty(0, np.int32),
        "row": np.empty(0, np.int32),
        "id": np.empty(0, "S32"),
        "text_hash": np.empty((0, 2), np.uint64),
        "keys": np.empty((0, parameters.bands), np.uint64),
        "shingled": np.empty(0, np.bool_),
        "language": np.empty(0, np.int32),
        "length": np.empty(0, np.int64),
        "preference": np.empty((0, len(parameters.prefer)), np.float64),
    }


def _fixed(column: pa.FixedSizeBinaryArray, dtype: type[np.uint64], width: int) -> npt.NDArray[np.uint64]:
    """The bytes of a null-free fixed-size binary column as an array of shape (rows, width)."""
    return np.frombuffer(b"".join(column.to_pylist()), dtype=dtype).reshape(len(column), width)


def _signatures(column: pa.FixedSizeListArray, parameters: DedupParameters) -> npt.NDArray[np.uint64]:
    size = parameters.bands * parameters.rows
    if column.type.list_size != size:
        raise StageError(
            f"signatures have {column.type.list_size} values, bands * rows is {parameters.bands} * {parameters.rows} = "
            f"{size}: take signatures and dedup from one recipe section"
        )
    values = np.zeros((len(column), size), dtype=np.uint64)
    values[column.is_valid().to_numpy(zero_copy_only=False)] = column.flatten().to_numpy().reshape(-1, size)
    return values


def _preference(
    prefer: tuple[str, ...],
    length: npt.NDArray[np.int64],
    perplexity: pa.ChunkedArray | None,
    rows: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    values = np.full((len(rows), len(prefer)), np.nan)
    for column, name in enumerate(prefer):
        if name.removeprefix("-") == "length":
            values[:, column] = length
        elif perplexity is not None:
            taken = perplexity.take(pa.array(rows)).cast(pa.float64())
            values[:, column] = pc.fill_null(taken, float("nan")).to_numpy()
        if not name.startswith("-"):
            values[:, column] *= -1
    return values


def read_texts(index: Index, ranks: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], list[str]]]:
    """(ranks, their texts) a row group at a time, reading only row groups that hold one of `ranks`."""
    order = np.lexsort((index.row[ranks], index.part[ranks]))
    ranks = ranks[order]
    edges = np.searchsorted(index.part[ranks], np.arange(len(index.parts) + 1))
    for number, part in enumerate(index.parts):
        wanted = ranks[edges[number] : edges[number + 1]]
        if not len(wanted):
            continue
        reader = pq.ParquetFile(part.documents)
        start = 0
        for group in range(reader.metadata.num_row_groups):
            end = start + reader.metadata.row_group(group).num_rows
            first, last = np.searchsorted(index.row[wanted], (start, end))
            if last > first:
                inside = wanted[first:last]
                texts = reader.read_row_group(group, columns=["text"])["text"]
                yield inside, texts.take(pa.array(index.row[inside] - start)).to_pylist()
            start = end


def load_sets(index: Index, ranks: npt.NDArray[np.int64], shingle_words: int, spill: Path) -> ShingleSets:
    """Shingle sets of the whole texts of `ranks`, written to the file `spill` and memory-mapped.

    8 bytes a distinct shingle: 3 kB for a document of 2.5 kB, on disk; the kernel's page cache decides what of it is in
    memory.
    """
    starts, sizes = np.zeros(len(index), np.int64), np.zeros(len(index), np.int64)
    written = 0
    with spill.open("wb") as stream:
        for group, texts in read_texts(index, ranks):
            for part in batches(texts):
                for rank, values in zip(group[part].tolist(), shingle(texts[part], shingle_words).sets(), strict=True):
                    starts[rank], sizes[rank] = written, len(values)
                    stream.write(values.data)
                    written += len(values)
    if not written:
        return ShingleSets(np.empty(0, np.uint64), starts, sizes)
    return ShingleSets(np.asarray(np.memmap(spill, dtype=np.uint64, mode="r")), starts, sizes)
