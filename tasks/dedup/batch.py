"""Elect one batch of components: sort its documents, run the election, store the result
(`tasks.duplicates.results`), in one folder per batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.stage import JSON
from infra.store import Shard
from infra.store.exchange import Exchange
from tasks.dedup.candidates import candidate_record
from tasks.dedup.elect import Candidates, Election, elect
from tasks.dedup.election_loop import Ranks
from tasks.dedup.keys import GROUP_RECORD
from tasks.dedup.prefixes import IndexTooLarge
from tasks.dedup.similarity import Sets
from tasks.documents.segments import bucket_of, segments
from tasks.duplicates.results import Elected, Places, in_order, write_result


@dataclass(frozen=True)
class BatchWork:
    """Elect batch `batch` of what `gather` and `deal_groups` wrote to `candidates` and `groups`.

    `memory` (bytes) bounds the index of hot groups; `alone`: no other batch runs at the same time,
    so this is all the memory there is. If more than `saturated` different texts share a band's key,
    nothing is elected: a gate will stop the stage.
    """

    batch: int
    candidates: Exchange
    groups: Exchange
    elected: Exchange
    partitions: int
    places: Places
    first_new: int
    prefer: int
    verify: float
    memory: int
    alone: bool
    saturated: int | None


def bytes_per_document(bands: int, prefer: int) -> int:
    """Memory of one document of a batch, without its shingles, which are mapped from a file."""
    return 3 * candidate_record(prefer).itemsize + 120 + 28 * bands


def elect_batch(work: BatchWork, shard: Shard) -> dict[str, JSON]:
    """Elect, write the folder, and return counts for gates and statistics.

    {"postponed": True} if the index needs more memory than a worker's share: then the batch must be
    elected alone. Only "texts" and "examples" if a gate will stop the stage.
    """
    with work.elected.staging(f"{work.batch}/shingles") as file:
        return _elected(work, file)


def _elected(work: BatchWork, file: Path) -> dict[str, JSON]:
    records, starts, values = _spill(work, file)
    order = in_order(records, work.places.orders[work.places.part_of(records["number"])])
    records, starts = records[order], starts[order]
    first = first_copies(records["text_hash"])
    members, groups = memberships(_groups(work), records["number"], first)
    texts, examples = _most_saturated(members, groups, records["number"])
    if work.saturated is not None and texts > work.saturated:
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
        return {"postponed": True}
    representative, similarity = _with_copies(result, first, candidates.settled)
    hashes = records["text_hash"]
    exact = (hashes == hashes[representative]).all(axis=1)
    chosen = Elected(records, representative, similarity, exact)
    folder = work.elected.child(str(work.batch))
    return write_result(folder, chosen, work.places, work.first_new) | {
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
    """The batch's records, the starts of their shingle sets, and all sets in one mapped file."""
    blocks = [np.empty(0, candidate_record(work.prefer))]
    with file.open("wb") as stream:
        wanted = bucket_of(map(str, range(len(work.places.starts))), work.batch)
        for records, values in segments(work.candidates, wanted, blocks[0].dtype):
            blocks.append(records)
            stream.write(values.data)
    records = np.concatenate(blocks)
    sizes = records["size"].astype(np.int64)
    mapped = np.memmap(file, np.uint32, mode="r") if sizes.sum() else np.empty(0, np.uint32)
    return records, np.cumsum(sizes) - sizes, mapped


def _groups(work: BatchWork) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.uint32]]]:
    wanted = bucket_of(map(str, range(work.partitions)), work.batch)
    return segments(work.groups, wanted, GROUP_RECORD)


def first_copies(text_hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """For every document the lowest rank with the same text hash.

    `text_hashes` has shape (documents, 2), by rank.
    """
    # The sort is stable: ranks ascend within equal hashes.
    order = np.lexsort((text_hashes[:, 1], text_hashes[:, 0]))
    ascending = text_hashes[order]
    starts = np.ones(len(order), dtype=np.bool_)
    starts[1:] = (ascending[1:] != ascending[:-1]).any(axis=1)
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first


def memberships(
    blocks: Iterable[tuple[npt.NDArray[Any], npt.NDArray[np.uint32]]],
    numbers: npt.NDArray[np.uint32],
    first: npt.NDArray[np.int64],
) -> tuple[Ranks, npt.NDArray[np.int32]]:
    """(ranks, groups) of all first copies in groups of two or more different texts, by group.

    `blocks`: (group records, members' numbers); `numbers` and `first` by rank. Groups are numbered
    in the order in which they come.
    """
    by_number = np.argsort(numbers)
    ascending = numbers[by_number]
    ranks, groups = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    count = 0
    for records, members in blocks:
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
    """Copies share the fate of the first copy; documents of earlier crawls are kept."""
    ranks = np.arange(len(first), dtype=np.int32)
    representative = np.where(settled, ranks, election.representative[first])
    return representative, np.where(settled, np.float32(1), election.similarity[first])


def _most_saturated(
    ranks: npt.NDArray[np.int32], groups: npt.NDArray[np.int32], numbers: npt.NDArray[np.uint32]
) -> tuple[int, list[int]]:
    """Of the band key that most different texts share: how many do, and the numbers of three."""
    if not len(groups):
        return 0, []
    sizes = np.bincount(groups)
    inside = np.sort(ranks[groups == int(sizes.argmax())])
    return int(sizes.max()), numbers[inside[[0, len(inside) // 2, -1]]].tolist()
