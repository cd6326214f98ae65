"""Elect one batch of components: put its documents in order, run the election, keep what came of
it.

Written to scratch, in a folder for each batch (h heads stand for g documents that go):

    fates.npy    (g,) by number: who goes, in whose favour
    members.npy  (g,) by head, then rank: ids for the table of clusters
    heads.npy    (h,) by rank
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.stage import JSON
from infra.store import Shard
from tasks.dedup.candidates import candidate_record
from tasks.dedup.elect import Candidates, Election, Ranks, elect
from tasks.dedup.keys import GROUP_RECORD
from tasks.dedup.prefixes import IndexTooLarge
from tasks.dedup.segments import segments
from tasks.dedup.signed import ID_BYTES, Part
from tasks.dedup.similarity import Sets

FATE = np.dtype(
    [("number", "<u4"), ("head", "<u4"), ("similarity", "<f4"), ("exact", "?"), ("repeated", "?")]
)
MEMBER = np.dtype(
    [("number", "<u4"), ("similarity", "<f4"), ("exact", "?"), ("id", f"S{ID_BYTES}")]
)
HEAD = np.dtype(
    [("number", "<u4"), ("start", "<u8"), ("size", "<u4"), ("exact", "<u4"), ("id", f"S{ID_BYTES}")]
)


@dataclass(frozen=True)
class Places:
    """What of the parts an election has to know: by part, where its numbers start and its crawl's
    place.
    """

    starts: npt.NDArray[np.int64]
    orders: npt.NDArray[np.int64]
    sources: npt.NDArray[
        np.int64
    ]  # place in the sorted names of this run's sources, -1 for an earlier crawl

    @classmethod
    def of(cls, parts: tuple[Part, ...]) -> Places:
        """The places of all parts."""
        names = sorted({part.source for part in parts if not part.crawl})
        return cls(
            np.array([part.start for part in parts], np.int64),
            np.array([part.order for part in parts], np.int64),
            np.array([-1 if part.crawl else names.index(part.source) for part in parts], np.int64),
        )

    def part_of(self, numbers: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """The part of every number; of empty parts at one place the last, which is the one with
        rows.
        """
        return np.searchsorted(self.starts, numbers, side="right") - 1


@dataclass(frozen=True)
class BatchWork:
    """Elect batch `batch` of what `gather` and `deal_groups` left in `candidates` and `groups`.

    `alone`: nothing else runs beside it, so that `memory` is all there is. Where more than
    `saturated` different texts share a band's key, nothing is elected: a gate will stop the stage.
    """

    batch: int
    candidates: Path
    groups: Path
    elected: Path
    partitions: int
    places: Places
    first_new: int
    prefer: int
    verify: float
    memory: int
    alone: bool
    saturated: int | None


def bytes_per_document(bands: int, prefer: int) -> int:
    """Memory of one document of a batch, its shingles apart, which are mapped from a file and
    handed back.
    """
    return 3 * candidate_record(prefer).itemsize + 120 + 28 * bands


def elect_batch(work: BatchWork, shard: Shard) -> dict[str, JSON]:
    """Elect, write the folder, and count for gates and statistics.

    {"postponed": True} where it should be alone; nothing but "texts" and "examples" where a gate
    will stop the stage.
    """
    folder = work.elected / str(work.batch)
    staged = folder.with_name(
        f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}"
    )  # an orphaned try may still write
    staged.mkdir(parents=True)
    records, starts, values = _spill(work, staged / "shingles.bin")
    parts = work.places.part_of(records["number"])
    order = in_order(records, work.places.orders[parts])
    records, starts, parts = records[order], starts[order], parts[order]
    first = first_copies(records["text_hash"])
    members, groups = memberships(_groups(work), records["number"], first)
    texts, examples = _most_saturated(members, groups, records["number"])
    if work.saturated is not None and texts > work.saturated:
        shutil.rmtree(staged)
        return {"texts": texts, "examples": examples}
    candidates = Candidates(
        Sets(values, starts, records["size"].astype(np.int64)),
        *by_document(members, groups, len(records)),
        records["number"] < work.first_new,
    )
    try:
        result = elect(candidates, work.verify, work.memory)
    except IndexTooLarge:
        if work.alone:
            raise
        shutil.rmtree(staged)
        return {"postponed": True}
    representative, similarity = _with_copies(result, first, candidates.settled)
    counted = _write(staged, work, records, parts, representative, similarity)
    del candidates, values
    (staged / "shingles.bin").unlink()
    shutil.rmtree(folder, ignore_errors=True)
    staged.rename(folder)
    return counted | {
        "candidates": len(records),
        "compared": result.compared,
        "verified": result.verified,
        "indexed": result.indexed,
        "texts": texts,
        "examples": examples,
    }


def _spill(
    work: BatchWork, file: Path
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """The batch's records, where their shingle sets start, and all sets in one memory-mapped
    file.
    """
    found = [np.empty(0, candidate_record(work.prefer))]
    with file.open("wb") as stream:
        for part in range(len(work.places.starts)):
            for records, values in segments(
                work.candidates / str(part), work.batch, found[0].dtype
            ):
                found.append(records)
                stream.write(values.data)
    records = np.concatenate(found)
    sizes = records["size"].astype(np.int64)
    mapped = np.memmap(file, np.uint32, mode="r") if sizes.sum() else np.empty(0, np.uint32)
    return records, np.cumsum(sizes) - sizes, mapped


def _groups(work: BatchWork) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.uint32]]]:
    for partition in range(work.partitions):
        yield from segments(work.groups / str(partition), work.batch, GROUP_RECORD)


def in_order(records: npt.NDArray[Any], crawls: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The order of election: crawl, preferences, id; where one record was given twice, its place
    among the inputs.
    """
    columns = [records["prefer"][:, at] for at in reversed(range(records["prefer"].shape[1]))]
    letters = np.ascontiguousarray(records["id"]).view(">u8").reshape(len(records), -1)
    words = [letters[:, at].astype(np.uint64) for at in reversed(range(letters.shape[1]))]
    order: npt.NDArray[np.int64] = np.lexsort([records["number"], *words, *columns, crawls])
    return order


def first_copies(text_hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """For every document the lowest rank with the same text hash; `text_hashes` has shape
    (documents, 2).
    """
    order = np.lexsort(
        (text_hashes[:, 1], text_hashes[:, 0])
    )  # stable: ranks ascend within equal hashes
    ascending = text_hashes[order]
    starts = np.ones(len(order), dtype=np.bool_)
    starts[1:] = (ascending[1:] != ascending[:-1]).any(axis=1)
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first


def memberships(
    found: Iterable[tuple[npt.NDArray[Any], npt.NDArray[np.uint32]]],
    numbers: npt.NDArray[np.uint32],
    first: npt.NDArray[np.int64],
) -> tuple[Ranks, npt.NDArray[np.int32]]:
    """(rank, group) of every first copy in a group of two different texts and more, by group.

    `found`: blocks of (group records, members' numbers); `numbers` and `first` by rank.
    """
    by_number = np.argsort(numbers)
    ascending = numbers[by_number]
    ranks, groups = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    count = 0
    for records, members in found:
        rank = by_number[np.searchsorted(ascending, members)]
        is_first = first[rank] == rank
        group = np.repeat(np.arange(len(records), dtype=np.int32), records["size"])[is_first]
        several = (np.bincount(group, minlength=len(records)) > 1)[group]
        ranks.append(rank[is_first][several].astype(np.int32))
        groups.append(group[several] + np.int32(count))
        count += len(records)
    return np.concatenate(ranks), np.concatenate(groups)


def by_document(
    ranks: npt.NDArray[np.int32], groups: npt.NDArray[np.int32], documents: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """(starts, groups): document r is in groups[starts[r]:starts[r + 1]], ascending."""
    order = np.argsort(ranks, kind="stable")
    starts = np.zeros(documents + 1, np.int64)
    np.cumsum(np.bincount(ranks, minlength=documents), out=starts[1:])
    return starts, groups[order]


def _with_copies(
    election: Election, first: npt.NDArray[np.int64], settled: npt.NDArray[np.bool_]
) -> tuple[Ranks, npt.NDArray[np.float32]]:
    """Copies share the fate of the first; documents of earlier crawls stay."""
    ranks = np.arange(len(first), dtype=np.int32)
    representative = np.where(settled, ranks, election.representative[first])
    return representative, np.where(settled, np.float32(1), election.similarity[first])


def _write(
    folder: Path,
    work: BatchWork,
    records: npt.NDArray[Any],
    parts: npt.NDArray[np.int64],
    representative: Ranks,
    similarity: npt.NDArray[np.float32],
) -> dict[str, JSON]:
    gone = np.flatnonzero(representative != np.arange(len(representative)))
    gone = gone[np.argsort(representative[gone], kind="stable")]
    standing, start, sizes = np.unique(representative[gone], return_index=True, return_counts=True)
    head = np.repeat(np.arange(len(standing)), sizes)
    members = np.zeros(len(gone), MEMBER)
    for name in ("number", "id"):
        members[name] = records[name][gone]
    members["similarity"] = similarity[gone]
    members["exact"] = (
        records["text_hash"][gone] == records["text_hash"][representative[gone]]
    ).all(axis=1)
    heads = np.zeros(len(standing), HEAD)
    for name in ("number", "id"):
        heads[name] = records[name][standing]
    heads["start"], heads["size"] = start, sizes
    heads["exact"] = np.bincount(head, weights=members["exact"], minlength=len(standing))
    fates = np.zeros(len(gone), FATE)
    for name in ("number", "similarity", "exact"):
        fates[name] = members[name]
    fates["head"] = head
    fates["repeated"] = (members["id"] == heads["id"][head]) & (
        heads["number"][head] < work.first_new
    )
    for name, table in (
        ("fates", fates[np.argsort(fates["number"])]),
        ("members", members),
        ("heads", heads),
    ):
        np.save(folder / f"{name}.npy", table)
    sources = work.places.sources[parts[gone]]
    count = int(work.places.sources.max(initial=-1)) + 1
    return {
        "removed": np.bincount(sources, minlength=count).tolist(),
        "repeated": np.bincount(sources[fates["repeated"]], minlength=count).tolist(),
        "clusters": len(standing),
    }


def _most_saturated(
    ranks: npt.NDArray[np.int32], groups: npt.NDArray[np.int32], numbers: npt.NDArray[np.uint32]
) -> tuple[int, list[int]]:
    """The band key that most different texts share: how many, and the numbers of a few in order of
    rank.
    """
    if not len(groups):
        return 0, []
    sizes = np.bincount(groups)
    inside = np.sort(ranks[groups == int(sizes.argmax())])
    return int(sizes.max()), numbers[inside[[0, len(inside) // 2, -1]]].tolist()
