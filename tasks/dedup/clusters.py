"""Clusters: an elected document and those it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.dedup.elect import Election
from tasks.dedup.index import Index

SAMPLE_MEMBERS = 10

SCHEMA = pa.schema(
    [
        ("representative", pa.string()),  # id of the document that stays
        ("source", pa.string()),
        ("size", pa.int64()),  # documents, the representative included
        ("exact", pa.int64()),  # members with the representative's normalised text
        ("near", pa.int64()),
        (
            "members",  # the first SAMPLE_MEMBERS removed documents, most preferred first
            pa.list_(
                pa.struct(
                    [("id", pa.string()), ("source", pa.string()), ("kind", pa.string()), ("similarity", pa.float32())]
                )
            ),
        ),
    ]
)


@dataclass(frozen=True)
class Clusters:
    """Clusters of two documents and more, the largest first, then by id of the representative.

    Cluster c stands for the ranks `members[starts[c]:starts[c + 1]]`, ascending, without `representative[c]`.
    """

    index: Index
    exact: npt.NDArray[np.bool_]  # (documents,): same normalised text as its representative
    similarity: npt.NDArray[np.float32]  # (documents,): to its representative
    representative: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    members: npt.NDArray[np.int64]

    @classmethod
    def of(cls, index: Index, election: Election) -> Clusters:
        """Group what an election removed."""
        of = election.representative
        removed = np.flatnonzero(of != np.arange(len(of)))
        removed = removed[np.argsort(of[removed], kind="stable")]
        representative, first, sizes = np.unique(of[removed], return_index=True, return_counts=True)
        order = np.lexsort((representative, index.id[representative], -sizes))
        members = [removed[first[c] : first[c] + sizes[c]] for c in order]
        return cls(
            index,
            (index.text_hash == index.text_hash[of]).all(axis=1),
            election.similarity,
            representative[order],
            np.concatenate(([0], np.cumsum(sizes[order]))).astype(np.int64),
            np.concatenate([np.empty(0, np.int64), *members]),
        )

    def __len__(self) -> int:
        return len(self.representative)

    def sizes(self) -> npt.NDArray[np.int64]:
        """Documents of every cluster, the representative included."""
        return np.diff(self.starts) + 1

    def id(self, rank: int) -> str:
        """The id of a document."""
        return bytes(self.index.id[rank]).decode()

    def source(self, rank: int) -> str:
        """The source of a document."""
        return self.index.parts[int(self.index.part[rank])].source

    def row(self, cluster: int) -> dict[str, Any]:
        """One row of the table `SCHEMA`."""
        head = int(self.representative[cluster])
        members = self.members[self.starts[cluster] : self.starts[cluster + 1]]
        exact = int(self.exact[members].sum())
        return {
            "representative": self.id(head),
            "source": self.source(head),
            "size": len(members) + 1,
            "exact": exact,
            "near": len(members) - exact,
            "members": [
                {
                    "id": self.id(rank),
                    "source": self.source(rank),
                    "kind": "exact" if self.exact[rank] else "near",
                    "similarity": float(self.similarity[rank]),
                }
                for rank in members[:SAMPLE_MEMBERS].tolist()
            ],
        }

    def table(self) -> pa.Table:
        """All clusters."""
        return pa.Table.from_pylist([self.row(cluster) for cluster in range(len(self))], schema=SCHEMA)

    def histogram(self) -> list[dict[str, int]]:
        """Clusters by size, in bins from a power of two up to the next: {"from", "to", "clusters", "documents"}."""
        sizes = self.sizes()
        bins: list[dict[str, int]] = []
        low = 2
        while low <= sizes.max(initial=0):
            inside = sizes[(sizes >= low) & (sizes < 2 * low)]
            bins.append({"from": low, "to": 2 * low - 1, "clusters": len(inside), "documents": int(inside.sum())})
            low *= 2
        return bins
