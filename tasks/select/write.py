"""What workers do with one part of a source: find documents to hold out, then write lines."""

from __future__ import annotations

import contextlib
import heapq
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.ledger import Ledger
from infra.stage import StageError
from infra.store import Shard
from tasks.documents import edits
from tasks.documents.annotate import count_edited
from tasks.documents.records import record_bytes
from tasks.documents.selected import HELD_OUT_FOLDER, held_out_hash, held_out_limit
from tasks.select.index import write_index, write_vectors
from tasks.select.stage import HeldOut

_DECIDED = ["reason", "language", "category", "repeats"]
_COLUMNS = ["id", "text", "prompt", "url", "file", "offset", "license", "dump"]


@dataclass(frozen=True)
class SelectWork:
    """One part of a source and its row-aligned files.

    `elections`: (stage, file with the fates that it decided), in order; `edits`: files with a
    column `edits`, in the order in which they apply; `cutoffs`: category -> the largest hash that
    is held out.
    """

    source: str
    name: str
    documents: Path
    cut: Path
    elections: tuple[tuple[str, Path], ...]
    heldout: HeldOut | None
    edits: tuple[Path, ...] = ()
    cutoffs: Mapping[str, int] = field(default_factory=dict)
    signatures: Path | None = None
    vectors: Path | None = None


def find_held_out(work: SelectWork, shard: Shard) -> dict[str, Any]:
    """Category -> hashes of surviving documents that may be held out, ascending.

    Only those below the fraction, and of them the smallest, up to `max_documents`.
    """
    if work.heldout is None:
        return {}
    limit = held_out_limit(work.heldout.fraction)
    hashes: dict[str, list[int]] = {}
    for table in _tables(work, ["id"]):
        for id_, category, reason in zip(
            *(table[name].to_pylist() for name in ("id", "category", "reason")), strict=True
        ):
            if reason is None and (position := held_out_hash(id_)) < limit:
                hashes.setdefault(category, []).append(position)
    return {
        category: heapq.nsmallest(work.heldout.max_documents, hashes[category])
        for category in sorted(hashes)
    }


def write_lines(work: SelectWork, shard: Shard) -> dict[str, Any]:
    """Write the part's files, one per category and side; returns its ledger and counts by file."""
    ledger = Ledger()
    counts: dict[str, Counter[str]] = {}
    with contextlib.ExitStack() as stack:
        files: dict[str, IO[bytes]] = {}
        for table in _tables(work, _COLUMNS):
            survivors = table.filter(pc.is_null(table["reason"]))
            edited = edits.apply_columns(
                survivors["text"], [survivors[name] for name in _edit_columns(work)]
            )
            survivors = survivors.drop_columns(["text", *_edit_columns(work)]).append_column(
                "text", edited.texts
            )
            count_edited(
                ledger, work.source, survivors["language"], record_bytes(survivors), edited.taken
            )
            _count_dropped(ledger, work.source, table)
            for row in survivors.to_pylist():
                folder = _folder(work, row)
                if folder.startswith(f"{HELD_OUT_FOLDER}/"):
                    row["repeats"] = 1  # evaluation reads a document once
                if folder not in files:
                    name = f"{folder}/{Path(work.name).stem}.jsonl"
                    path = stack.enter_context(shard.create(name))
                    files[folder] = stack.enter_context(path.open("wb"))
                files[folder].write(line(row))
                count = counts.setdefault(folder, Counter())
                count["documents"] += 1
                count["bytes"] += len(row["text"].encode()) + len(row["prompt"].encode())
                count["characters"] += len(row["text"]) + len(row["prompt"])
                count["copies"] += row["repeats"]
    return {
        "ledger": ledger.to_json(),
        "folders": {folder: dict(counts[folder]) for folder in sorted(counts)},
    }


def write_survivors(work: SelectWork, shard: Shard) -> dict[str, Any]:
    """Write the part's index; returns its documents and bytes, see `tasks.select.index`."""
    if work.signatures is None:
        raise StageError(
            f"{work.source}/{work.name} has no signatures to make the index from; add a section "
            "dedup to the recipe, or set select.index to false"
        )
    reasons = _decisions(work)["reason"]
    if work.vectors is not None:
        write_vectors(work.vectors, reasons, work.name, shard)
    return write_index(work.documents, work.signatures, reasons, work.name, shard)


def line(row: Mapping[str, Any]) -> bytes:
    """One document as a line of JSONL; see `tasks.select.stage`."""
    record = {
        "source": row["prompt"],
        "target": row["text"],
        "category": row["category"],
        "id": row["id"],
        "url": row["url"],
        "language": row["language"],
        "file": row["file"],
        "offset": row["offset"],
    }
    for name in ("license", "dump"):
        if row.get(name):
            record[name] = row[name]
    if row.get("repeats", 1) > 1:
        record["repeats"] = row["repeats"]
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def _folder(work: SelectWork, row: Mapping[str, Any]) -> str:
    category: str = row["category"]
    cutoff = work.cutoffs.get(category)
    held_out = cutoff is not None and held_out_hash(row["id"]) <= cutoff
    return f"{HELD_OUT_FOLDER}/{category}" if held_out else category


def _tables(work: SelectWork, columns: list[str]) -> Iterator[pa.Table]:
    """One table per row group: document columns, language, category, `reason` (null: survives).

    Columns that older documents lack are left out. If `columns` has `text`, also `bytes` (of the
    record as ingest wrote it) and `_edit_columns`.
    """
    documents = pq.ParquetFile(work.documents)
    edit_files = [pq.ParquetFile(path) for path in work.edits]
    decided = _decisions(work)
    if decided.num_rows != documents.metadata.num_rows:
        raise StageError(
            f"{work.source}/{work.name}: {documents.metadata.num_rows} documents but "
            f"{decided.num_rows} decisions; cut or dedup belong to other documents: rebuild them"
        )
    for path, file in zip(work.edits, edit_files, strict=True):
        if file.metadata.num_rows != documents.metadata.num_rows:
            raise StageError(
                f"{work.source}/{work.name}: {documents.metadata.num_rows} documents but "
                f"{file.metadata.num_rows} rows of edits in {path}; they belong to other "
                "documents: rebuild them"
            )
    present = [name for name in columns if name in documents.schema_arrow.names]
    start = 0
    for group in range(documents.num_row_groups):
        table = documents.read_row_group(group, columns=present)
        decisions = decided.slice(start, table.num_rows)
        start += table.num_rows
        for name in decisions.column_names:
            table = table.append_column(name, decisions[name])
        if "text" in columns:
            table = table.append_column("bytes", record_bytes(table))
            for name, file in zip(_edit_columns(work), edit_files, strict=True):
                table = table.append_column(
                    name, file.read_row_group(group, columns=[edits.COLUMN])[edits.COLUMN]
                )
        yield table


def _edit_columns(work: SelectWork) -> list[str]:
    return [f"{edits.COLUMN}.{number}" for number in range(len(work.edits))]


def _decisions(work: SelectWork) -> pa.Table:
    """Language, category, repeats and reason (of cut, else of an election) of the part's rows.

    Read as a whole: it is small compared with the text.
    """
    there = pq.read_schema(work.cut).names
    cut = pq.read_table(work.cut, columns=[name for name in _DECIDED if name in there])
    if "repeats" not in there:  # before version 3 of cut
        cut = cut.append_column("repeats", pa.array([1] * cut.num_rows, pa.int32()))
    reason = cut["reason"]
    for stage, file in work.elections:
        kind = pq.read_table(file, columns=["kind"])["kind"]
        if len(kind) != len(reason):
            raise StageError(
                f"{work.source}/{work.name}: cut has {len(reason)} rows but {stage} {len(kind)}; "
                "rebuild them"
            )
        reason = pc.coalesce(reason, pc.binary_join_element_wise(stage, kind, "."))
    uncategorised = pc.if_else(
        pc.is_null(cut["category"]), "category.none", pa.scalar(None, pa.string())
    )
    reason = pc.coalesce(reason, uncategorised)
    return cut.set_column(0, "reason", reason)


def _count_dropped(ledger: Ledger, source: str, table: pa.Table) -> None:
    dropped = table.filter(pc.is_valid(table["reason"]))
    for row in (
        dropped.group_by(["language", "reason"])
        .aggregate([("bytes", "sum"), ("bytes", "count")])
        .to_pylist()
    ):
        amounts = {"documents": row["bytes_count"], "bytes": row["bytes_sum"]}
        ledger.add(source, row["language"], "read", **amounts)
        ledger.add(source, row["language"], "dropped", row["reason"], **amounts)
