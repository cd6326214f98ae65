"""Collect, by batch, what an election reads: documents with their shingle sets, and groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.stage import JSON
from infra.store import Shard
from infra.store.exchange import Exchange
from tasks.dedup.keys import BANDS, GROUP_RECORD
from tasks.documents.segments import SegmentWriter, bucket_of, segments
from tasks.duplicates.parts import SignedPart
from tasks.duplicates.signed import ID_BYTES, ids, preferences, read_sets, text_hashes

BATCHES, BATCH = "batches", np.dtype("<u4")
"""File of `Batches.of`, and the type of its records."""


def candidate_record(prefer: int) -> np.dtype[Any]:
    """Record type of a document: number, size of its shingle set, text hash, preferences, id."""
    return np.dtype(
        [
            ("number", "<u4"),
            ("size", "<u4"),
            ("text_hash", "<u8", (2,)),
            ("prefer", "<f8", (prefer,)),
            ("id", f"S{ID_BYTES}"),
        ]
    )


@dataclass(frozen=True)
class GatherWork:
    """Write the candidates of a part to the segment `folder/<part number>`.

    `BATCHES` in `batches` is `Batches.of`, `count` the number of batches.
    """

    part: SignedPart
    folder: Exchange
    batches: Exchange
    count: int


def gather(work: GatherWork, shard: Shard) -> dict[str, JSON]:
    """Write the part's documents that meet others, with their shingle sets, by batch."""
    part = work.part
    size = BATCH.itemsize
    (batch,) = work.batches.read([(BATCHES, size * part.start, size * (part.start + part.rows))])
    batch = batch.view(BATCH)
    rows = np.flatnonzero(batch)
    dtype = candidate_record(len(part.prefer))
    prefer, names = preferences(part, rows), ids(part, rows)
    done = shingles = 0
    with SegmentWriter(work.folder, str(part.number), work.count) as writer:
        for taken, table in read_sets(part.signatures, rows):
            sets = table["shingle_set"].combine_chunks()
            records = np.zeros(len(taken), dtype)
            records["number"] = taken + part.start
            records["size"] = np.diff(sets.offsets.to_numpy())
            records["text_hash"] = text_hashes(table["text_hash"])
            records["prefer"] = prefer[done : done + len(taken)]
            records["id"] = names[done : done + len(taken)]
            done += len(taken)
            bucket = batch[taken] - 1
            order = np.argsort(bucket, kind="stable")
            # Usually there is one batch and the order is that of the rows: spare the copy.
            if len(order) and (order[1:] < order[:-1]).any():
                sets = sets.take(pa.array(order))
            values = sets.flatten().to_numpy()
            shingles += len(values)
            writer.append(bucket[order], records[order], values)
    return {"candidates": len(rows), "shingles": shingles}


@dataclass(frozen=True)
class DealWork:
    """Write the groups that `find_groups` left for a partition, by batch: `folder/<partition>`."""

    partition: int
    groups: Exchange
    folder: Exchange
    batches: Exchange
    count: int


def deal_groups(work: DealWork, shard: Shard) -> dict[str, JSON]:
    """Write the groups of bands by batch; groups of texts only serve to find components."""
    file, name = work.batches.path(BATCHES), str(work.partition)
    with SegmentWriter(work.folder, name, work.count) as writer:
        for records, members in segments(work.groups, bucket_of([name], BANDS), GROUP_RECORD):
            batch = np.memmap(file, BATCH, mode="r")
            sizes = records["size"].astype(np.int64)
            starts = np.cumsum(sizes) - sizes
            # All members of a group are in one component, hence in one batch: ask the first.
            bucket = batch[members[starts]] - 1
            order = np.argsort(bucket, kind="stable")
            ordered = members[_runs(starts[order], sizes[order])]
            writer.append(bucket[order], records[order], ordered)
    return {}


def _runs(starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Indices of runs, one run after another: starts[k], ..., starts[k] + sizes[k] - 1."""
    first = np.cumsum(sizes) - sizes
    indices: npt.NDArray[np.int64] = np.arange(int(sizes.sum())) + np.repeat(starts - first, sizes)
    return indices
