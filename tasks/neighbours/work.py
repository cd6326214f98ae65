"""What workers do: sample a part, train centroids, deal a part to groups, search a group.

Between the steps, exchanged by workers (`infra.store.exchange`):

    sample/<part>.npz   positions (n,) and vectors (n, D) of the documents drawn
    centroids.npy       (clusters, D)
    dealt/<part>        segments (`tasks.documents.segments`) by group of clusters: the documents
                        whose own cluster, or one that they probe, is in the group
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from infra.stage import JSON, StageError
from infra.store import Shard
from infra.store.exchange import Exchange
from tasks.documents.ordering import position
from tasks.documents.schema import COMPRESSION
from tasks.documents.segments import SegmentWriter, bucket_of, gathered
from tasks.documents.vectors import COLUMN, from_column
from tasks.duplicates.parts import SignedPart
from tasks.duplicates.signed import eligible_rows, ids, read_rows
from tasks.neighbours.clusters import Matrix, nearest, train
from tasks.neighbours.pairs import Half, near, near_within

PAIRS = pa.schema([("first", pa.uint32()), ("second", pa.uint32()), ("similarity", pa.float32())])
CENTROIDS, DEALT = "centroids.npy", "dealt"
_USE = b"puna-kmeans"
_BLOCK_ROWS = 4_096


@dataclass(frozen=True)
class PartVectors:
    """A part and the file with its vectors."""

    part: SignedPart
    file: Path

    def blocks(self) -> Iterator[tuple[npt.NDArray[np.int64], Half]]:
        """(rows, vectors) of the eligible documents that have one, some thousands at once."""
        if pq.read_metadata(self.file).num_rows != self.part.rows:
            raise StageError(
                f"{self.part.label} has {self.part.rows} documents but {self.file} has another "
                "number of vectors: rebuild the embeddings"
            )
        eligible = eligible_rows(self.part)
        for rows, table in read_rows(self.file, [COLUMN], eligible, _BLOCK_ROWS):
            vectors, known = from_column(table[COLUMN])
            yield rows[known], vectors[known]


@dataclass(frozen=True)
class SampleWork:
    """Draw about this share of a part's documents."""

    vectors: PartVectors
    fraction: float
    files: Exchange
    name: str


def count(vectors: PartVectors, shard: Shard) -> dict[str, JSON]:
    """How many documents are eligible, and how many of them have a vector."""
    with_vector = sum(len(rows) for rows, _ in vectors.blocks())
    return {"eligible": len(eligible_rows(vectors.part)), "with_vector": with_vector}


def sample(work: SampleWork, shard: Shard) -> dict[str, JSON]:
    """Write the part's sample; returns its size."""
    positions: list[int] = []
    drawn: list[Half] = []
    limit = int(work.fraction * (1 << 64))
    for rows, vectors in work.vectors.blocks():
        found = [position(id_.decode(), _USE) for id_ in ids(work.vectors.part, rows)]
        chosen = [index for index, place in enumerate(found) if place < limit]
        positions += [found[index] for index in chosen]
        drawn.append(vectors[chosen])
    with work.files.create(work.name) as path, path.open("wb") as stream:
        np.savez(
            stream,
            positions=np.array(positions, np.uint64),
            vectors=np.concatenate(drawn) if drawn else np.empty((0, 0), np.float16),
        )
    return {"documents": len(positions)}


@dataclass(frozen=True)
class TrainWork:
    """Train so many clusters on all samples."""

    files: Exchange
    samples: tuple[str, ...]
    clusters: int


def train_clusters(work: TrainWork, shard: Shard) -> dict[str, JSON]:
    """Write the centroids; returns how many there are."""
    found = [dict(np.load(work.files.path(name), allow_pickle=False)) for name in work.samples]
    found = [one for one in found if len(one["positions"])]
    positions = np.concatenate([one["positions"] for one in found])
    vectors = np.concatenate([one["vectors"] for one in found])
    # Equal ids are of a document read twice: its vectors decide, not where they stand.
    order = np.lexsort((*vectors[:, ::-1].T[-4:], positions))
    centroids = train(vectors[order].astype(np.float32), work.clusters)
    with work.files.create(CENTROIDS) as path, path.open("wb") as stream:
        np.save(stream, centroids)
    return {"clusters": len(centroids)}


@dataclass(frozen=True)
class DealWork:
    """Write the part's documents to the groups of the clusters that are nearest to them."""

    vectors: PartVectors
    files: Exchange
    probes: int
    groups: int


def dealt_record(dimensions: int, probes: int) -> np.dtype[Any]:
    """A document in a group: its number, the clusters that it probes, its own first, its vector."""
    return np.dtype(
        [("number", "<u4"), ("clusters", "<u4", (probes,)), ("vector", "<f2", (dimensions,))]
    )


def group_of(clusters: npt.NDArray[np.uint32], count: int, groups: int) -> npt.NDArray[np.int64]:
    """The group of each of `count` clusters: consecutive ones are together."""
    return clusters.astype(np.int64) * groups // count


def deal(work: DealWork, shard: Shard) -> dict[str, JSON]:
    """Write the part's segment; returns the documents of every cluster that has some."""
    centroids: Matrix = np.load(work.files.path(CENTROIDS), allow_pickle=False)
    sizes = np.zeros(len(centroids), np.int64)
    name = f"{DEALT}/{work.vectors.part.number}"
    with SegmentWriter(work.files, name, work.groups) as writer:
        for rows, vectors in work.vectors.blocks():
            clusters = nearest(vectors.astype(np.float32), centroids, work.probes)
            sizes += np.bincount(clusters[:, 0], minlength=len(sizes))
            records = np.empty(len(rows), dealt_record(vectors.shape[1], clusters.shape[1]))
            records["number"] = rows + work.vectors.part.start
            records["clusters"], records["vector"] = clusters, vectors
            groups = group_of(clusters, len(centroids), work.groups)
            row, group = _once(groups)
            order = np.lexsort((row, group))
            writer.append(group[order], records[row[order]])
    found = np.flatnonzero(sizes)
    return {"clusters": found.tolist(), "documents": sizes[found].tolist()}


def _once(groups: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(row, group) of every group in which a row of (N, probes) is, each once."""
    ascending = np.sort(groups, axis=1)
    new = np.ones(groups.shape, np.bool_)
    new[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    rows, columns = np.nonzero(new)
    return rows, ascending[rows, columns]


@dataclass(frozen=True)
class SearchWork:
    """Search the clusters of one group. `parts` segments; documents below `first_new` are of
    earlier crawls, and pairs of two of them are left out.
    """

    group: int
    files: Exchange
    parts: int
    groups: int
    clusters: int
    dimensions: int
    probes: int
    floor: float
    most: int
    first_new: int


def search(work: SearchWork, shard: Shard) -> dict[str, JSON]:
    """Write the group's pairs; returns counts."""
    dtype = dealt_record(work.dimensions, work.probes)
    names = (f"{DEALT}/{part}" for part in range(work.parts))
    records = gathered(work.files, bucket_of(names, work.group), dtype)
    records = records[np.argsort(records["number"], kind="stable")]
    found: list[tuple[npt.NDArray[np.uint32], ...]] = []
    saturated = compared = 0
    every = np.arange(work.clusters, dtype=np.uint32)
    for cluster in np.flatnonzero(group_of(every, work.clusters, work.groups) == work.group):
        home = records[records["clusters"][:, 0] == cluster]
        guests = records[(records["clusters"][:, 1:] == cluster).any(axis=1)]
        if work.first_new and not (home["number"] >= work.first_new).any():
            guests = guests[guests["number"] >= work.first_new]
            inside = near_within(home["vector"][:0], work.floor, work.most)
        else:
            inside = near_within(home["vector"], work.floor, work.most)
        across = near(guests["vector"], home["vector"], work.floor, work.most)
        # Both probe each other's cluster: the pair is found twice, and counts in the lower one.
        own = guests["clusters"][across.query, 0]
        both = (home["clusters"][across.other] == own[:, None]).any(axis=1)
        chosen = ~(both & (own < cluster))
        for pairs, left in ((inside, home), (across, guests)):
            saturated += int((np.unique(pairs.query, return_counts=True)[1] >= work.most).sum())
            keep = chosen if pairs is across else np.ones(len(pairs.query), np.bool_)
            one = left["number"][pairs.query[keep]]
            other = home["number"][pairs.other[keep]]
            found.append((np.minimum(one, other), np.maximum(one, other), pairs.cosine[keep]))
        compared += len(home) * (len(home) - 1) // 2 + len(home) * len(guests)
    first, second, cosine = (
        np.concatenate([np.empty(0, kind), *(pairs[column] for pairs in found)]).astype(kind)
        for column, kind in enumerate((np.uint32, np.uint32, np.float32))
    )
    new = second >= work.first_new
    first, second, cosine = first[new], second[new], cosine[new]
    order = np.lexsort((second, first))
    table = pa.table([first[order], second[order], cosine[order]], schema=PAIRS)
    with shard.create(f"pairs/part-{work.group:05d}.parquet") as path:
        pq.write_table(table, path, compression=COMPRESSION)
    histogram = np.bincount(
        np.minimum((cosine * 100 + 1e-4).astype(np.int64), 99), minlength=100
    ).tolist()
    return {
        "pairs": len(order),
        "compared": compared,
        "saturated": saturated,
        "histogram": histogram,
    }
