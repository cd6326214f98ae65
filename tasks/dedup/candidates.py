"""What the election of a batch needs of its documents, dealt by batch: records and shingle sets,
and groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.stage import JSON
from infra.store import Shard
from tasks.dedup.keys import BANDS, GROUP_RECORD
from tasks.dedup.segments import SegmentWriter, segments
from tasks.dedup.signed import ID_BYTES, Part, ids, preferences, read_sets, text_hashes


def candidate_record(prefer: int) -> np.dtype[Any]:
    """A document: its number, shingles, text hash, preferences, id."""
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
    """Write the candidates of a part to `folder/<part number>`; `batches` is the file of
    `Batches.of`.
    """

    part: Part
    folder: Path
    batches: Path
    count: int


def gather(work: GatherWork, shard: Shard) -> dict[str, JSON]:
    """Deal the part's documents that meet others, with their shingle sets."""
    part = work.part
    batch = np.load(work.batches, mmap_mode="r")[part.start : part.start + part.rows]
    rows = np.flatnonzero(batch)
    dtype = candidate_record(len(part.prefer))
    prefer, names = preferences(part, rows), ids(part, rows)
    at = shingles = 0
    with SegmentWriter(work.folder / str(part.number), work.count) as writer:
        for taken, table in read_sets(part.signatures, rows):
            sets = table["shingle_set"].combine_chunks()
            records = np.zeros(len(taken), dtype)
            records["number"] = taken + part.start
            records["size"] = np.diff(sets.offsets.to_numpy())
            records["text_hash"] = text_hashes(table["text_hash"])
            records["prefer"] = prefer[at : at + len(taken)]
            records["id"] = names[at : at + len(taken)]
            at += len(taken)
            of = batch[taken] - 1
            order = np.argsort(of, kind="stable")
            if len(order) and (order[1:] < order[:-1]).any():
                sets = sets.take(pa.array(order))
            values = sets.flatten().to_numpy()
            shingles += len(values)
            writer.append(of[order], records[order], values)
    return {"candidates": len(rows), "shingles": shingles}


@dataclass(frozen=True)
class DealWork:
    """Write the groups of a partition, which `find_groups` left in `groups`, by batch to
    `folder/<partition>`.
    """

    partition: int
    groups: Path
    folder: Path
    batches: Path
    count: int


def deal_groups(work: DealWork, shard: Shard) -> dict[str, JSON]:
    """Deal the groups of bands; those of texts have done their work once components are known."""
    batch = np.load(work.batches, mmap_mode="r")
    with SegmentWriter(work.folder / str(work.partition), work.count) as writer:
        for records, members in segments(work.groups / str(work.partition), BANDS, GROUP_RECORD):
            sizes = records["size"].astype(np.int64)
            starts = np.cumsum(sizes) - sizes
            of = batch[members[starts]] - 1
            order = np.argsort(of, kind="stable")
            writer.append(of[order], records[order], members[_runs(starts[order], sizes[order])])
    return {}


def _runs(starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Indices of runs one after another: starts[0], ..., starts[0] + sizes[0] - 1, starts[1],
    ...
    """
    first = np.cumsum(sizes) - sizes
    indices: npt.NDArray[np.int64] = np.arange(int(sizes.sum())) + np.repeat(starts - first, sizes)
    return indices
