"""A sample of documents by a hash of their ids: the same whatever the number of parts or workers.

1. Every part hands on the smallest hashes among its documents that may be asked for (`smallest`).
2. The sample is the smallest of all (`limits`); so a larger sample contains a smaller one, and a
   crawl that grows changes little of it.
3. Every part writes its documents of the sample, as annotators see them (`write_sample`).
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.ledger import UNDETERMINED
from infra.stage import StageError
from infra.store import Artifact, Shard
from tasks.documents.annotate import EDITED_BY, AlignedPart, parts, through_edits
from tasks.documents.edits import COLUMN
from tasks.documents.records import PROMPT, records
from tasks.documents.schema import COMPRESSION

FOLDER = "sample"
"""Folder of a stage's data that holds its sample."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("language", pa.string()),
        ("url", pa.string()),
        ("text", pa.string()),
    ]
)
"""Of sample files; columns of vectors may follow. `text`: the record, its first characters."""


@dataclass(frozen=True)
class Wanted:
    """Which documents of a source: the `size` smallest hashes by `seed`, in one of `languages`
    (None: any); or those with these `ids`.
    """

    size: int = 0
    seed: int = 0
    languages: tuple[str, ...] | None = None
    ids: frozenset[str] | None = None


@dataclass(frozen=True)
class SampleWork:
    """A part of a source. `limit`: the largest hash of the sample. `vectors`: a column to copy."""

    part: AlignedPart
    wanted: Wanted
    max_characters: int
    limit: int = 0
    vectors: str = ""


def sample_hash(id_: str, seed: int) -> int:
    """A document's place in the order of sampling: 64 bits."""
    digest = hashlib.blake2b(
        id_.encode(), digest_size=8, person=b"puna-sample", salt=seed.to_bytes(16, "big")
    ).digest()
    return int.from_bytes(digest, "big")


def sample_parts(
    documents: Sequence[Artifact],
    columns: Mapping[str, tuple[Sequence[Artifact], Sequence[str]]],
) -> dict[str, AlignedPart]:
    """`SOURCE.part-N` -> part, of all sources, with columns `id`, `url` and the text.

    `columns`: role -> its artifacts by source, and the columns to read; a source may lack one.
    """
    found = {}
    for artifact in documents:
        annotations = {
            role: (one, names)
            for role, (given, names) in columns.items()
            for one in given
            if one.name == artifact.name
        }
        for part in parts(artifact, ("id", "url", "text", PROMPT), annotations):
            found[f"{artifact.name}.{Path(part.name).stem}"] = part
    return found


def edited_and_identified(
    langid: Sequence[Artifact], line_dedup: Sequence[Artifact]
) -> dict[str, tuple[Sequence[Artifact], Sequence[str]]]:
    """The columns that every sample takes: languages, and edits to apply."""
    return {"langid": (langid, ("language",)), EDITED_BY: (line_dedup, (COLUMN,))}


def smallest(work: SampleWork, shard: Shard) -> dict[str, Any]:
    """The part's smallest hashes, ascending, of documents that may be in the sample."""
    hashes: list[int] = []
    for table in work.part.tables():
        eligible = table.filter(_eligible(table, work.wanted))
        found = (sample_hash(id_, work.wanted.seed) for id_ in eligible["id"].to_pylist())
        hashes = heapq.nsmallest(work.wanted.size, [*hashes, *found])
    return {"hashes": hashes}


def limits(
    found: Mapping[str, Mapping[str, Any]], work: Mapping[str, SampleWork]
) -> dict[str, int]:
    """Source -> the largest hash of its sample; none for a source without documents."""
    by_source: dict[str, list[int]] = {}
    sizes = {}
    for key, result in found.items():
        source = work[key].part.source
        by_source.setdefault(source, []).extend(result["hashes"])
        sizes[source] = work[key].wanted.size
    return {
        source: heapq.nsmallest(sizes[source], hashes)[-1]
        for source, hashes in by_source.items()
        if hashes
    }


def write_sample(work: SampleWork, shard: Shard) -> dict[str, Any]:
    """Write the part's documents of the sample, if any; returns the file's name, or ""."""
    tables = [_chosen(table, work) for table in work.part.tables()]
    tables = [table for table in tables if table.num_rows]
    if not tables:
        return {"file": ""}
    name = f"{FOLDER}/{work.part.source}/{work.part.name}"
    with shard.create(name) as path:
        pq.write_table(pa.concat_tables(tables), path, compression=COMPRESSION)
    return {"file": name}


def _chosen(table: pa.Table, work: SampleWork) -> pa.Table:
    wanted = work.wanted
    ids = table["id"].to_pylist()
    if wanted.ids is not None:
        mask = pa.array([id_ in wanted.ids for id_ in ids], pa.bool_())
    else:
        low = [sample_hash(id_, wanted.seed) <= work.limit for id_ in ids]
        mask = pc.and_(_eligible(table, wanted), pa.array(low, pa.bool_()))
    chosen, _ = through_edits(table.filter(mask))
    text = pc.utf8_slice_codeunits(records(chosen), 0, work.max_characters)
    columns = [
        chosen["id"],
        pa.array([work.part.source] * chosen.num_rows, pa.string()),
        _language(chosen),
        chosen["url"],
        text,
    ]
    found = pa.table(columns, schema=SCHEMA)
    return found.append_column(work.vectors, chosen[work.vectors]) if work.vectors else found


def _eligible(table: pa.Table, wanted: Wanted) -> pa.ChunkedArray:
    """Documents that are not empty, in one of the languages."""
    there = pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(table["text"])), 0)
    if wanted.languages is None or "language" not in table.column_names:
        return there
    listed = pc.is_in(table["language"], value_set=pa.array(wanted.languages, pa.string()))
    return pc.and_(there, listed)


def _language(table: pa.Table) -> Any:
    if "language" not in table.column_names:
        return pa.array([UNDETERMINED] * table.num_rows, pa.string())
    return pc.fill_null(table["language"], UNDETERMINED)


def read_sample(files: Iterable[Path]) -> pa.Table:
    """All documents of a sample, by id. Raises `StageError` for none."""
    tables = [pq.read_table(path) for path in files]
    if not tables:
        raise StageError(
            "none of the documents of its sources may be in the sample, which takes those with "
            "text in its `languages`; look at them (puna inspect --stage ingest), and check "
            "`sources` and `languages`"
        )
    return pa.concat_tables(tables).sort_by([("id", "ascending"), ("source", "ascending")])
