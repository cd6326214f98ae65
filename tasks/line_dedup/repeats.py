"""Which units of a source are repeated, by sorted arrays on disk: memory does not grow with the
source.

A run is the units of consecutive row groups of one part, about `RUN_UNITS` of them. It is stored
twice: all its units in the order of their hashes, for the step that writes edits, and a tally of
its distinct hashes with their counts and first places, for the step that counts. Partitions of the
hash space are counted one by one over the tallies of all runs, so that a line that stands in every
document costs an entry a run, not one a document.
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
"""20 MB of units on disk; sorting takes about five times that in memory. A run holds one row group
at least.
"""

PARTITION_ENTRIES = 1 << 20
"""Entries of tallies in a partition, on average: 48 MB, and three times that while they are sorted.
"""

_PLACE = np.dtype(
    [(name, "<u8") for name in ("high", "low")]
    + [(n, "<u4") for n in ("part", "run", "row", "first")]
)
"""A unit's place: its document's id in two halves, then where that document stands; `row` counts
from the run's.
"""

_UNIT = np.dtype([("row", "<u4"), ("first", "<u4"), ("end", "<u4")])

Hashes = npt.NDArray[np.uint64]
Records = npt.NDArray[np.void]


@dataclass(frozen=True)
class Run:
    """Run `number` of part `part`, which covers `row_groups` row groups; its files lie in
    `folder`.
    """

    folder: Path
    part: int
    number: int
    row_groups: int
    entries: int

    def load(self, name: str) -> Any:
        """One of the run's arrays, mapped: hashes and units (all of them), distinct, counts and
        places (the tally).
        """
        return np.load(self._file(name), mmap_mode="r")

    def save(self, name: str, array: npt.NDArray[Any]) -> None:
        """Store one of the arrays, over what a killed worker may have left."""
        np.save(self._file(name), array)

    def _file(self, name: str) -> Path:
        return self.folder / f"{self.part:05d}.{self.number:05d}.{name}.npy"


def save_run(
    folder: Path, part: int, number: int, row_groups: int, units: Units, ids: Hashes
) -> Run:
    """Sort and store the units of a run; `ids` (N, 2), one row a document. An empty run (0 entries)
    has no files.
    """
    rank = np.empty(len(ids), np.uint64)
    rank[np.lexsort((ids[:, 1], ids[:, 0]))] = np.arange(len(ids), dtype=np.uint64)
    order = np.lexsort((rank[units.rows] << np.uint64(32) | units.first, units.hashes))
    hashes = units.hashes[order]
    heads = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)])
    run = Run(folder, part, number, row_groups, len(heads))
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
    """`count` equal ranges of hashes; what is repeated in each is stored in `folder`."""

    folder: Path
    count: int

    def slices(self, ascending: Hashes) -> list[slice]:
        """Where each partition lies in ascending hashes."""
        edges = np.array([(number << 64) // self.count for number in range(self.count)], np.uint64)
        bounds = [*np.searchsorted(ascending, edges).tolist(), len(ascending)]
        return [slice(low, high) for low, high in itertools.pairwise(bounds)]

    def load(self, number: int, name: str) -> Any:
        """`hashes` of the repeated units of a partition, ascending, or their first `places`."""
        return np.load(self._file(number, name), mmap_mode="r")

    def count_one(
        self, number: int, runs: Sequence[Run], minimum_copies: int
    ) -> tuple[npt.NDArray[Any], Records]:
        """Count partition `number` over all runs and store what is repeated; returns copies and
        first places.
        """
        columns: dict[str, list[Any]] = {"distinct": [], "counts": [], "places": []}
        for run in runs:
            part = self.slices(run.load("distinct"))[number]
            for name, found in columns.items():
                found.append(np.array(run.load(name)[part]))
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
    run: Run, partitions: Partitions, filled: Sequence[int], spare_first: bool
) -> Records:
    """The units (row, first, end) of a run that are repeated, by row and line; `filled`: partitions
    with repeats.

    `spare_first` leaves out the first copy of all.
    """
    if not run.entries:
        return np.empty(0, _UNIT)
    hashes, units = run.load("hashes"), run.load("units")
    slices = partitions.slices(hashes)
    found = [np.empty(0, _UNIT)]
    for number in filled:
        mine = np.array(hashes[slices[number]])
        known = partitions.load(number, "hashes")
        index = np.minimum(np.searchsorted(known, mine), len(known) - 1)
        repeated = np.flatnonzero(known[index] == mine)
        records = np.array(units[slices[number]][repeated])
        if spare_first:
            first = partitions.load(number, "places")[index[repeated]]
            here = (first["part"] == run.part) & (first["run"] == run.number)
            records = records[
                ~(here & (first["row"] == records["row"]) & (first["first"] == records["first"]))
            ]
        found.append(records)
    removed = np.concatenate(found)
    return removed[np.lexsort((removed["first"], removed["row"]))]
