"""Clusters (a kept document and those it represents): their table and their sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from infra.stage import JSON
from infra.store import Shard
from infra.store.exchange import Exchange
from tasks.documents.schema import COMPRESSION
from tasks.duplicates.parts import SignedPart
from tasks.duplicates.results import HEAD, MEMBER

FILE = "clusters.parquet"
MOST_MEMBERS = 1_000
"""The most members that a row lists."""
BYTES_PER_CLUSTER = 130
"""Memory of a cluster while the table is sorted."""

_ROWS_MEMBERS = 100_000
"""Members of one row group, approximately."""

_MEMBER = pa.struct(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("kind", pa.string()),
        ("similarity", pa.float32()),
    ]
)
SCHEMA = pa.schema(
    [
        ("representative", pa.string()),  # id of the document that is kept
        ("source", pa.string()),
        ("crawl", pa.string()),  # "", or the history artifact it comes from (stage/name@version)
        ("size", pa.int64()),  # documents, the representative included
        ("exact", pa.int64()),  # members with the representative's normalised text
        ("near", pa.int64()),
        # Documents removed in its favour, most preferred first, MOST_MEMBERS at most.
        ("members", pa.list_(_MEMBER)),
    ]
)


@dataclass(frozen=True)
class Clusters:
    """Clusters in order: the largest first, then by the representative's id.

    `heads` are records of `results.HEAD`; `batch[c]` is the batch that elected cluster c, in whose
    folder of `elected` its members are.
    """

    elected: Exchange
    parts: tuple[SignedPart, ...]
    batch: npt.NDArray[np.int32]  # (clusters,)
    heads: npt.NDArray[Any]  # (clusters,)

    @classmethod
    def of(cls, elected: Exchange, batches: int, parts: tuple[SignedPart, ...]) -> Clusters:
        """Read the clusters of all batches and sort them."""
        heads = [np.load(elected.path(f"{batch}/heads.npy")) for batch in range(batches)]
        batch = np.repeat(np.arange(batches, dtype=np.int32), [len(part) for part in heads])
        joined = np.concatenate([np.empty(0, HEAD), *heads])
        order = np.lexsort((joined["number"], joined["id"], -joined["size"].astype(np.int64)))
        return cls(elected, parts, batch[order], joined[order])

    def members(self, batch: int) -> npt.NDArray[Any]:
        """The removed documents of a batch, by cluster: records of `results.MEMBER`."""
        found: npt.NDArray[Any] = np.load(self.elected.path(f"{batch}/members.npy"), mmap_mode="r")
        return found

    def __len__(self) -> int:
        return len(self.heads)

    def sizes(self) -> npt.NDArray[np.int64]:
        """Documents of every cluster, the representative included."""
        return self.heads["size"].astype(np.int64) + 1

    def tables(self) -> Iterator[pa.Table]:
        """All rows, in tables whose borders do not depend on the batches of the election."""
        ends = np.cumsum(np.minimum(self.heads["size"].astype(np.int64), MOST_MEMBERS) + 1)
        first = 0
        while first < len(self):
            before = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + _ROWS_MEMBERS, side="right")))
            yield self.table(first, last)
            first = last

    def table(self, first: int, last: int, most: int = MOST_MEMBERS) -> pa.Table:
        """The rows [first, last), with `most` members each."""
        heads, batch = self.heads[first:last], self.batch[first:last]
        if not len(heads):
            return SCHEMA.empty_table()
        sizes = np.minimum(heads["size"].astype(np.int64), most)
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        members: npt.NDArray[Any] = np.empty(int(offsets[-1]), MEMBER)
        # One batch's file at a time: `clusters` are its clusters among these rows, `counts` their
        # members; `within` counts from 0 in each of them.
        for number in np.unique(batch).tolist():
            all_members = self.members(number)
            clusters = np.flatnonzero(batch == number)
            counts = sizes[clusters]
            within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
            source = np.repeat(heads["start"][clusters].astype(np.int64), counts) + within
            target = np.repeat(offsets[:-1][clusters], counts) + within
            members[target] = all_members[source]
        columns = {
            "id": strings(members["id"]),
            "source": self.labels(members["number"], "source"),
            "kind": pa.array(np.where(members["exact"], "exact", "near"), pa.string()),
            "similarity": pa.array(members["similarity"]),
        }
        exact = heads["exact"].astype(np.int64)
        return pa.table(
            [
                strings(heads["id"]),
                self.labels(heads["number"], "source"),
                self.labels(heads["number"], "crawl"),
                pa.array(heads["size"].astype(np.int64) + 1),
                pa.array(exact),
                pa.array(heads["size"].astype(np.int64) - exact),
                pa.ListArray.from_arrays(
                    pa.array(offsets, pa.int32()),
                    pa.StructArray.from_arrays(list(columns.values()), fields=list(_MEMBER)),
                ),
            ],
            schema=SCHEMA,
        )

    def labels(self, numbers: npt.NDArray[np.uint32], field: str) -> pa.Array:
        """A field of each document's part; documents are given by number."""
        starts = [part.start for part in self.parts]
        names = np.array([getattr(part, field) for part in self.parts], dtype=object)
        return pa.array(names[np.searchsorted(starts, numbers, side="right") - 1], pa.string())

    def largest(self, members: int = 10) -> dict[str, Any] | None:
        """The row of the largest cluster, with a few members; None where there is no cluster."""
        rows: list[dict[str, Any]] = self.table(0, 1, members).to_pylist()
        return rows[0] if rows else None

    def histogram(self) -> list[dict[str, int]]:
        """Clusters by size, one bin per power of two: {"from", "to", "clusters", "documents"}."""
        sizes = self.sizes()
        bins: list[dict[str, int]] = []
        low = 2
        while low <= sizes.max(initial=0):
            inside = sizes[(sizes >= low) & (sizes < 2 * low)]
            bins.append(
                {
                    "from": low,
                    "to": 2 * low - 1,
                    "clusters": len(inside),
                    "documents": int(inside.sum()),
                }
            )
            low *= 2
        return bins


def write_clusters(clusters: Clusters, _: None, shard: Shard) -> dict[str, JSON]:
    """Write `FILE`; the function of a map with one item."""
    with (
        shard.create(FILE) as path,
        pq.ParquetWriter(path, SCHEMA, compression=COMPRESSION) as writer,
    ):
        for table in clusters.tables():
            writer.write_table(table)
    return {"rows": len(clusters)}


def strings(values: npt.NDArray[np.bytes_]) -> pa.Array:
    """Zero-padded UTF-8 as an Arrow string array."""
    lengths = np.char.str_len(values)
    letters = (
        np.ascontiguousarray(values).view(np.uint8).reshape(len(values), values.dtype.itemsize)
    )
    data = letters[np.arange(values.dtype.itemsize) < lengths[:, None]]
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(data))
