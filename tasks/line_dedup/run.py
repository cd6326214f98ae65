"""Runs stage line_dedup: hash the units of every part, count them by partition, write edits."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.context import Context
from infra.ledger import Ledger
from infra.stage import Outcome
from infra.store import Shard
from infra.store.exchange import Exchange
from tasks.documents import edits
from tasks.documents.annotate import AlignedPart, ledger_of, parts
from tasks.documents.records import PROMPT, has_prompt, record_bytes
from tasks.documents.schema import COMPRESSION
from tasks.line_dedup import repeats
from tasks.line_dedup.repeats import (
    Hashes,
    Partitions,
    Records,
    SortedRun,
    repeated_units,
    save_run,
)
from tasks.line_dedup.stage import LineDedupParameters
from tasks.line_dedup.units import Units, removal, unit_text, units_of
from tasks.text.shingles import Utf8

PLACE = ["part", "run", "row", "first"]
EXAMPLES = 20
EXAMPLE_CHARACTERS = 200

SCHEMA = pa.schema([(edits.COLUMN, edits.EDITS), ("emptied", pa.bool_())])


@dataclass(frozen=True)
class HashWork:
    """Hash the units of part `number` of the source."""

    part: AlignedPart
    number: int
    files: Exchange
    parameters: LineDedupParameters


@dataclass(frozen=True)
class CountWork:
    """Count partition `number` over `runs`."""

    partitions: Partitions
    number: int
    runs: tuple[SortedRun, ...]
    minimum_copies: int


@dataclass(frozen=True)
class WriteWork:
    """Write the edits of a part from its `runs`; `first` is the place of its first one among those
    that were counted.

    `filled`: partitions with repeats; `examples`: (run, row, first line) of units to show.
    """

    part: AlignedPart
    runs: tuple[SortedRun, ...]
    first: int
    partitions: Partitions
    filled: tuple[int, ...]
    parameters: LineDedupParameters
    examples: tuple[tuple[int, int, int], ...] = ()


def run(context: Context) -> Outcome:
    """See `tasks.line_dedup.stage`."""
    parameters: LineDedupParameters = context.parameters
    files = context.exchange.child("units")
    listed = parts(context.input("documents"), ("id", "text", PROMPT), {})
    keys = [Path(part.name).stem for part in listed]
    hashed = context.map(
        hash_part,
        {
            f"hash.{key}": HashWork(part, number, files, parameters)
            for number, (key, part) in enumerate(zip(keys, listed, strict=True))
        },
    )
    runs = [
        tuple(SortedRun(files, number, index, *sizes) for index, sizes in enumerate(result["runs"]))
        for number, result in enumerate(hashed.values())
    ]
    filled_runs = tuple(run for runs_of_part in runs for run in runs_of_part if run.entries)
    counted_before = np.cumsum([0, *(sum(run.entries > 0 for run in part) for part in runs)])
    partitions = Partitions(
        files, max(1, -(-sum(run.entries for run in filled_runs) // repeats.PARTITION_ENTRIES))
    )
    counted = context.map(
        count_partition,
        {
            f"count.{number:05d}": CountWork(
                partitions, number, filled_runs, parameters.minimum_copies
            )
            for number in range(partitions.count if filled_runs else 0)
        },
    )
    filled = tuple(number for number, result in enumerate(counted.values()) if result["repeated"])
    most = most_repeated(result["most"] for result in counted.values())
    written = context.map(
        write_part,
        {
            f"write.{key}": WriteWork(
                part,
                runs[number],
                int(counted_before[number]),
                partitions,
                filled,
                parameters,
                tuple(
                    (run, row, line)
                    for _, (part_number, run, row, line) in most
                    if part_number == number
                ),
            )
            for number, (key, part) in enumerate(zip(keys, listed, strict=True))
        },
    )
    totals: Counter[str] = Counter()
    for result in (*hashed.values(), *counted.values(), *written.values()):
        totals.update(result["totals"])
    examples = [
        {
            "text": written[f"write.{keys[part]}"]["examples"][_example_key(*place)],
            "copies": copies,
        }
        for copies, (part, *place) in most
    ]
    return Outcome({**dict(sorted(totals.items())), "most_repeated": examples}, ledger_of(written))


def _example_key(run: int, row: int, line: int) -> str:
    return f"{run}.{row}.{line}"


def most_repeated(
    lists: Iterable[Iterable[Sequence[Any]]],
) -> list[tuple[int, tuple[int, int, int, int]]]:
    """The units with the most copies from lists of (copies, place of the first), sorted.

    A place is (part, run, row, first line).
    """
    candidates = [(copies, tuple(place)) for entries in lists for copies, place in entries]
    return sorted(candidates, key=lambda entry: (-entry[0], entry[1]))[:EXAMPLES]


def hash_part(work: HashWork, shard: Shard) -> dict[str, Any]:
    """Store the part's units by run; returns the row groups and tally entries of each run."""
    runs: list[SortedRun] = []
    documents = units = prompted = 0
    for tables in _runs(work):
        ids = np.concatenate([_ids(table["id"].to_pylist()) for table, _ in tables])
        joined = Units.joined(
            [units_of_table for _, units_of_table in tables],
            (table.num_rows for table, _ in tables),
        )
        documents, units = documents + len(ids), units + len(joined.hashes)
        prompted += sum(_with_prompt(table) for table, _ in tables)
        runs.append(save_run(work.files, work.number, len(runs), len(tables), joined, ids))
    return {
        "runs": [[run.row_groups, run.entries] for run in runs],
        "totals": {"documents": documents, "documents_with_prompt": prompted, "units": units},
    }


def _runs(work: HashWork) -> Iterator[list[tuple[pa.Table, Units]]]:
    """Ids and units of consecutive row groups, in runs of about `repeats.RUN_UNITS` units."""
    group: list[tuple[pa.Table, Units]] = []
    taken = 0
    for table in work.part.tables():
        units = units_of(Utf8.of_column(_counted(table)), work.parameters)
        if group and taken + len(units.hashes) > repeats.RUN_UNITS:
            yield group
            group, taken = [], 0
        group.append((table.select(["id", PROMPT]), units))
        taken += len(units.hashes)
    if group:
        yield group


def _counted(table: pa.Table) -> pa.ChunkedArray:
    """The texts, empty for documents with a prompt, which have no units."""
    prompted = has_prompt(table)
    return table["text"] if prompted is None else pc.if_else(prompted, "", table["text"])


def _with_prompt(table: pa.Table) -> int:
    prompted = has_prompt(table)
    return 0 if prompted is None else int(pc.sum(prompted).as_py() or 0)


def _ids(ids: Sequence[str]) -> Hashes:
    """Ids of 32 hex digits as numbers of shape (N, 2), which order as the ids do."""
    halves = np.frombuffer(bytes.fromhex("".join(ids)), dtype=">u8").reshape(-1, 2)
    return halves.astype(np.uint64)


def count_partition(work: CountWork, shard: Shard) -> dict[str, Any]:
    """Count one partition; returns the number of repeated units, and the most repeated ones."""
    copies, firsts = work.partitions.count_one(work.number, work.runs, work.minimum_copies)
    most = np.argsort(-copies, kind="stable")[:EXAMPLES]
    ranked = zip(copies[most].tolist(), firsts[most][PLACE].tolist(), strict=True)
    return {
        "repeated": len(copies),
        "most": most_repeated([list(ranked)]),
        "totals": {"units_repeated": len(copies), "copies": int(copies.sum())},
    }


def write_part(work: WriteWork, shard: Shard) -> dict[str, Any]:
    """Write one part's edits; returns its ledger, totals, and the texts of examples in it."""
    ledger = Ledger()
    totals: Counter[str] = Counter(units_removed=0, documents_edited=0, documents_emptied=0)
    examples: dict[str, str] = {}
    spare_first = work.parameters.keep == "first"
    reason = f"line_dedup.{work.parameters.unit}"
    tables = work.part.tables()
    with (
        shard.create(work.part.name) as path,
        pq.ParquetWriter(path, SCHEMA, compression=COMPRESSION) as writer,
    ):
        counted = work.first
        for run in work.runs:
            removed = repeated_units(run, counted, work.partitions, work.filled, spare_first)
            counted += run.entries > 0
            removed_rows = np.ascontiguousarray(removed["row"])
            wanted = [place[1:] for place in work.examples if place[0] == run.number]
            totals["units_removed"] += len(removed)
            start = 0
            for table in itertools.islice(tables, run.row_groups):
                end = start + table.num_rows
                for row, line in wanted:
                    if start <= row < end:
                        text = unit_text(
                            table["text"][row - start].as_py(), line, work.parameters.unit
                        )
                        key = _example_key(run.number, row, line)
                        examples[key] = text[:EXAMPLE_CHARACTERS]
                in_table = removed[slice(*np.searchsorted(removed_rows, (start, end)))].copy()
                in_table["row"] -= start
                columns, taken = columns_of(table["text"], in_table, reason)
                writer.write_table(columns)
                _count(ledger, work.part.source, reason, record_bytes(table), taken)
                totals["documents_edited"] += len(np.unique(in_table["row"]))
                totals["documents_emptied"] += pc.sum(columns["emptied"]).as_py() or 0
                start = end
    return {"ledger": ledger.to_json(), "totals": dict(totals), "examples": examples}


def _count(ledger: Ledger, source: str, reason: str, sizes: pa.ChunkedArray, taken: int) -> None:
    """Count documents of `sizes` bytes as kept, less the `taken` bytes that edits remove."""
    size = pc.sum(sizes).as_py() or 0
    ledger.add(source, None, "read", documents=len(sizes), bytes=size)
    ledger.add(source, None, "kept", documents=len(sizes), bytes=size - taken)
    if taken:
        ledger.add(source, None, "edited", reason, bytes=taken)


def columns_of(texts: pa.ChunkedArray, removed: Records, reason: str) -> tuple[pa.Table, int]:
    """The stage's columns, and the UTF-8 bytes that they remove.

    `removed`: the units to remove, by row (from 0) and line.
    """
    rows: list[list[edits.Edit]] = [[] for _ in range(len(texts))]
    emptied = np.zeros(len(texts), dtype=np.bool_)
    taken = 0
    edited, heads = np.unique(removed["row"], return_index=True)
    lines = list(zip(removed["first"].tolist(), removed["end"].tolist(), strict=True))
    spans = itertools.pairwise([*heads.tolist(), len(lines)])
    for row, text, (low, high) in zip(
        edited.tolist(), texts.take(pa.array(edited)).to_pylist(), spans, strict=True
    ):
        rows[row] = removal(text, lines[low:high], reason)
        left = edits.apply(text, rows[row])
        emptied[row] = not left.strip()
        taken += len(text.encode()) - len(left.encode())
    return pa.table([edits.column_of(rows), pa.array(emptied)], schema=SCHEMA), taken
