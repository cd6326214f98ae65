"""Find the repeated units of a source with sorted arrays on disk, in bounded memory.

1. Runs: the units of consecutive row groups of one part, about `RUN_UNITS` of them, are sorted by
   hash (`save_run`). A run is stored twice: all its units, for the step that writes edits; and a
   tally of its distinct hashes, with their counts and first places, for the step that counts.
2. Partitions: the hash space is divided into equal ranges. Each is counted over the tallies of all
   runs (`Partitions.count_one`). Thanks to the tallies, a line that is in every document costs one
   entry per run, not one per document.
3. Lookup: the units of a run are compared with the repeated hashes of each partition
   (`repeated_units`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.line_dedup.units import Units

RUN_UNITS = 1 << 20
"""20 MB of units on disk; sorting takes about five times as much memory. A run has at least one row
group.
"""

PARTITION_ENTRIES = 1 << 20
"""Average number of tally entries in a partition: 48 MB, three times as much during sorting."""

_PLACE = np.dtype(
    [(name, "<u8") for name in ("high", "low")]
    + [(n, "<u4") for n in ("part", "run", "row", "first")]
)
"""A unit's place: the two halves of its document's id, the document's part, run and row (within
the run), and the unit's first line. Places order by id, then by line.
"""

_UNIT = np.dtype([("row", "<u4"), ("first", "<u4"), ("end", "<u4")])

Hashes = npt.NDArray[np.uint64]
Records = npt.NDArray[np.void]


@dataclass(frozen=True)
class SortedRun:
    """Run `number` of part `part`, of `row_groups` row groups and `entries` distinct hashes.

    Its files are in `folder`.
    """

    folder: Path
    part: int
    number: int
    row_groups: int
    entries: int

    def load(self, name: str) -> Any:
        """One of the run's arrays, memory-mapped.

        `hashes` and `units` (of all units), or `distinct`, `counts` and `places` (the tally).
        """
        return np.load(self._file(name), mmap_mode="r")

    def save(self, name: str, array: npt.NDArray[Any]) -> None:
        """Store one of the arrays; replaces what a killed worker may have left."""
        np.save(self._file(name), array)

    def _file(self, name: str) -> Path:
        return self.folder / f"{self.part:05d}.{self.number:05d}.{name}.npy"


def save_run(
    folder: Path, part: int, number: int, row_groups: int, units: Units, ids: Hashes
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
    run = SortedRun(folder, part, number, row_groups, len(heads))
    if not len(heads):
        return run
    records = np.empty(len(order), _UNIT)
    records["row"], records["first"], records["end"] = (
        units.rows[order],
        units.first[order],
        units.end[order],
    )
    places = np.empty(len(heads), _PLACE)
    places["part"], places["run"] = part, number
    places["row"], places["first"] = records["row"][heads], records["first"][heads]
    places["high"], places["low"] = ids[places["row"]].T
    run.save("hashes", hashes)
    run.save("units", records)
    run.save("distinct", hashes[heads])
    run.save("counts", np.diff(np.append(heads, len(hashes))))
    run.save("places", places)
    return run


@dataclass(frozen=True)
class Partitions:
    """`count` equal ranges of hashes; the repeated hashes of each are stored in `folder`."""

    folder: Path
    count: int

    def slices(self, sorted_hashes: Hashes) -> list[slice]:
        """For each partition, the slice of the sorted hashes that falls in it."""
        edges = np.array([(number << 64) // self.count for number in range(self.count)], np.uint64)
        bounds = [*np.searchsorted(sorted_hashes, edges).tolist(), len(sorted_hashes)]
        return [slice(low, high) for low, high in itertools.pairwise(bounds)]

    def load(self, number: int, name: str) -> Any:
        """`hashes` of the repeated units of a partition, ascending, or their first `places`."""
        return np.load(self._file(number, name), mmap_mode="r")

    def count_one(
        self, number: int, runs: Sequence[SortedRun], minimum_copies: int
    ) -> tuple[npt.NDArray[Any], Records]:
        """Count partition `number` over all runs and store the repeated hashes with first places.

        Returns the number of copies and the first place of each.
        """
        columns: dict[str, list[Any]] = {"distinct": [], "counts": [], "places": []}
        for run in runs:
            part = self.slices(run.load("distinct"))[number]
            for name, arrays in columns.items():
                arrays.append(np.array(run.load(name)[part]))
        hashes, counts, places = map(np.concatenate, columns.values())
        order = np.lexsort((places["first"], places["low"], places["high"], hashes))
        hashes = hashes[order]
        heads = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)])
        copies = np.add.reduceat(counts[order], heads) if len(heads) else counts
        repeated = np.flatnonzero(copies >= minimum_copies)
        firsts = places[order[heads[repeated]]]
        if len(repeated):
            np.save(self._file(number, "hashes"), hashes[heads[repeated]])
            np.save(self._file(number, "places"), firsts)
        return copies[repeated], firsts

    def _file(self, number: int, name: str) -> Path:
        return self.folder / f"repeated.{number:05d}.{name}.npy"


def repeated_units(
    run: SortedRun, partitions: Partitions, filled: Sequence[int], spare_first: bool
) -> Records:
    """The repeated units (row, first, end) of a run, by row and line.

    `filled`: partitions with repeats. `spare_first`: without the first copy in the whole source.
    """
    if not run.entries:
        return np.empty(0, _UNIT)
    hashes, units = run.load("hashes"), run.load("units")
    slices = partitions.slices(hashes)
    blocks = [np.empty(0, _UNIT)]
    for number in filled:
        wanted = np.array(hashes[slices[number]])
        known = partitions.load(number, "hashes")
        index = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        repeated = np.flatnonzero(known[index] == wanted)
        records = np.array(units[slices[number]][repeated])
        if spare_first:
            first = partitions.load(number, "places")[index[repeated]]
            same_run = (first["part"] == run.part) & (first["run"] == run.number)
            same_row = first["row"] == records["row"]
            same_line = first["first"] == records["first"]
            records = records[~(same_run & same_row & same_line)]
        blocks.append(records)
    removed = np.concatenate(blocks)
    return removed[np.lexsort((removed["first"], removed["row"]))]
