"""Find the repeated units of a source with sorted files, in bounded memory.

1. Runs: the units of consecutive row groups of one part, about `RUN_UNITS` of them, are sorted by
   hash (`save_run`). A run is stored twice: all its units, for the step that writes edits; and a
   tally of its distinct hashes, with their counts and first places, for the step that counts.
2. Partitions: the hash space is divided into equal ranges. Each is counted over the tallies of all
   runs (`Partitions.count_one`), of which it reads its own range. Thanks to the tallies, a line
   that is in every document costs one entry per run, not one per document.
3. Lookup: counting leaves, by run, the hashes of that run that are repeated. So a run's units are
   compared with its own (`repeated_units`), and nobody reads those of the whole source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.store.exchange import Exchange
from tasks.documents.segments import SegmentWriter, bucket_of, gathered, gathered_each
from tasks.line_dedup.units import Units

RUN_UNITS = 1 << 20
"""20 MB of units on disk; sorting takes about five times as much memory. A run has at least one row
group.
"""

PARTITION_ENTRIES = 1 << 20
"""Average number of tally entries in a partition: 48 MB, three times as much during sorting."""

_PLACE = [(name, "<u8") for name in ("high", "low")] + [
    (n, "<u4") for n in ("part", "run", "row", "first")
]
"""A unit's place: the two halves of its document's id, the document's part, run and row (within
the run), and the unit's first line. Places order by id, then by line.
"""

TALLY = np.dtype([("hash", "<u8"), ("count", "<u8"), *_PLACE])
"""A distinct hash of a run: how often it is there, and where first."""

_REPEATED = np.dtype([("hash", "<u8"), ("row", "<u4"), ("first", "<u4")])
"""A hash of a run that is repeated in the source; row and first line of the first copy of all, if
that is in this run, else `_ELSEWHERE`.
"""

_ELSEWHERE = 2**32 - 1
_UNIT = np.dtype([("row", "<u4"), ("first", "<u4"), ("end", "<u4")])
_BUCKET_ENTRIES, _MOST_BUCKETS = 64, 1 << 14

Hashes = npt.NDArray[np.uint64]
Records = npt.NDArray[Any]


@dataclass(frozen=True)
class SortedRun:
    """Run `number` of part `part`, of `row_groups` row groups and `entries` distinct hashes."""

    files: Exchange
    part: int
    number: int
    row_groups: int
    entries: int

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.part:05d}.{self.number:05d}"

    def load(self, name: str) -> Any:
        """One of the run's arrays of all units, memory-mapped: `hashes` or `units`."""
        return np.load(self.files.path(f"{self.name}.{name}.npy"), mmap_mode="r")

    def save(self, name: str, array: npt.NDArray[Any]) -> None:
        """Store one of the arrays; replaces what a killed worker may have left."""
        with self.files.create(f"{self.name}.{name}.npy") as path, path.open("wb") as stream:
            np.save(stream, array)

    @property
    def bits(self) -> int:
        """First bits of a hash that are its bucket in the tally."""
        buckets = max(1, min(self.entries // _BUCKET_ENTRIES, _MOST_BUCKETS))
        return buckets.bit_length() - 1


def save_run(
    files: Exchange, part: int, number: int, row_groups: int, units: Units, ids: Hashes
) -> SortedRun:
    """Sort the units of a run by hash, id and line, and store them.

    `ids` has shape (documents, 2). A run without units (0 entries) has no files.
    """
    # Ranking ids once turns (id, line) into one 64-bit key.
    rank = np.empty(len(ids), np.uint64)
    rank[np.lexsort((ids[:, 1], ids[:, 0]))] = np.arange(len(ids), dtype=np.uint64)
    order = np.lexsort((rank[units.rows] << np.uint64(32) | units.first, units.hashes))
    hashes = units.hashes[order]
    heads = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)])
    run = SortedRun(files, part, number, row_groups, len(heads))
    if not len(heads):
        return run
    records = np.empty(len(order), _UNIT)
    records["row"], records["first"], records["end"] = (
        units.rows[order],
        units.first[order],
        units.end[order],
    )
    tally = np.empty(len(heads), TALLY)
    tally["hash"], tally["count"] = hashes[heads], np.diff(np.append(heads, len(hashes)))
    tally["part"], tally["run"] = part, number
    tally["row"], tally["first"] = records["row"][heads], records["first"][heads]
    tally["high"], tally["low"] = ids[tally["row"]].T
    run.save("hashes", hashes)
    run.save("units", records)
    with SegmentWriter(files, f"{run.name}.tally", 1 << run.bits) as writer:
        writer.append(_first_bits(tally["hash"], run.bits), tally)
    return run


def _first_bits(hashes: Hashes, bits: int) -> npt.NDArray[np.int64]:
    if not bits:  # a shift by 64 is undefined
        return np.zeros(len(hashes), np.int64)
    return (hashes >> np.uint64(64 - bits)).astype(np.int64)


@dataclass(frozen=True)
class Partitions:
    """`count` equal ranges of hashes; what is repeated in each is stored in `files`."""

    files: Exchange
    count: int

    def tallies(self, number: int, runs: Sequence[SortedRun]) -> list[Records]:
        """Of each run, the entries in partition `number`, by hash."""
        low, high = ((edge << 64) // self.count for edge in (number, number + 1))
        wanted = [
            (f"{run.name}.tally", low >> (64 - run.bits), ((high - 1) >> (64 - run.bits)) + 1)
            for run in runs
        ]
        found = []
        for tally in gathered_each(self.files, wanted, TALLY):
            first = int(np.searchsorted(tally["hash"], np.uint64(low), "left"))
            last = int(np.searchsorted(tally["hash"], np.uint64(high - 1), "right"))
            found.append(tally[first:last])
        return found

    def count_one(
        self, number: int, runs: Sequence[SortedRun], minimum_copies: int
    ) -> tuple[npt.NDArray[Any], Records]:
        """Count partition `number` over all runs, and store for each run which of its hashes are
        repeated.

        Returns the number of copies and the first place of each repeated hash.
        """
        tallies = self.tallies(number, runs)
        owner = np.repeat(np.arange(len(runs)), [len(tally) for tally in tallies])
        entries = np.concatenate(tallies)
        del tallies
        order = np.lexsort((entries["first"], entries["low"], entries["high"], entries["hash"]))
        hashes = entries["hash"][order]
        is_head = np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)]
        heads = np.flatnonzero(is_head)
        copies = np.add.reduceat(entries["count"][order], heads) if len(heads) else hashes
        repeated = copies >= minimum_copies
        if not repeated.any():
            return copies[repeated], entries[:0]
        taken = np.repeat(repeated, np.diff(np.append(heads, len(hashes))))
        found = np.empty(int(taken.sum()), _REPEATED)
        found["hash"] = hashes[taken]
        head = is_head[taken]
        for name in ("row", "first"):
            found[name] = np.where(head, entries[name][order[taken]], _ELSEWHERE)
        by_run = np.argsort(owner[order[taken]], kind="stable")  # hashes stay ascending in each
        with SegmentWriter(self.files, self.name(number), len(runs)) as writer:
            writer.append(owner[order[taken]][by_run], found[by_run])
        return copies[repeated], entries[order[heads[repeated]]]

    @staticmethod
    def name(number: int) -> str:
        """The segment of a partition, by run."""
        return f"repeated.{number:05d}"


def repeated_units(
    run: SortedRun, place: int, partitions: Partitions, filled: Sequence[int], spare_first: bool
) -> Records:
    """The repeated units (row, first, end) of a run, by row and line.

    `place`: of the run among those that were counted. `filled`: partitions with repeats.
    `spare_first`: without the first copy in the whole source.
    """
    if not run.entries:
        return np.empty(0, _UNIT)
    names = [partitions.name(number) for number in filled]
    known = gathered(partitions.files, bucket_of(names, place), _REPEATED)
    hashes, units = run.load("hashes"), run.load("units")
    low = np.searchsorted(hashes, known["hash"], "left")
    sizes = np.searchsorted(hashes, known["hash"], "right") - low
    starts = np.cumsum(sizes) - sizes
    removed: Records = units[np.arange(int(sizes.sum())) + np.repeat(low - starts, sizes)]
    if spare_first:
        is_first = np.ones(len(removed), np.bool_)
        for name in ("row", "first"):
            is_first &= removed[name] == np.repeat(known[name], sizes)
        removed = removed[~is_first]
    return removed[np.lexsort((removed["first"], removed["row"]))]
