"""The result of an election: who was removed, and in whose favour.

Written for later steps, in a folder for each part of an election (h heads represent g removed
documents):

    fates        a segment (g records) by part: the removed documents, each with its head's id
    members.npy  (g,) by head, then rank: the same with ids, for the table of clusters
    heads.npy    (h,) by rank: the kept documents that represent others
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.stage import JSON
from infra.store.exchange import Exchange
from tasks.documents.segments import SegmentWriter
from tasks.duplicates.parts import SignedPart
from tasks.duplicates.signed import ID_BYTES

FATES = "fates"

FATE = np.dtype(
    [("number", "<u4"), ("similarity", "<f4"), ("exact", "?"), ("head", f"S{ID_BYTES}")]
)
MEMBER = np.dtype(
    [("number", "<u4"), ("similarity", "<f4"), ("exact", "?"), ("id", f"S{ID_BYTES}")]
)
HEAD = np.dtype(
    [("number", "<u4"), ("start", "<u8"), ("size", "<u4"), ("exact", "<u4"), ("id", f"S{ID_BYTES}")]
)


@dataclass(frozen=True)
class Places:
    """Per-part data for an election, as arrays over the parts."""

    starts: npt.NDArray[np.int64]  # number of the part's first document
    orders: npt.NDArray[np.int64]  # rank of its crawl, the earliest first
    sources: npt.NDArray[np.int64]  # index in this run's sorted sources, -1: an earlier crawl

    @classmethod
    def of(cls, parts: tuple[SignedPart, ...]) -> Places:
        """From all parts, in order of their numbers."""
        names = sorted({part.source for part in parts if not part.crawl})
        return cls(
            np.array([part.start for part in parts], np.int64),
            np.array([part.order for part in parts], np.int64),
            np.array([-1 if part.crawl else names.index(part.source) for part in parts], np.int64),
        )

    def part_of(self, numbers: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """The part of every document number.

        Of parts with the same start, all but the last are empty: the last is taken.
        """
        return np.searchsorted(self.starts, numbers, side="right") - 1


def in_order(records: npt.NDArray[Any], crawls: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The order of election: by crawl, preferences, id, and for a record read twice, its number."""
    # `lexsort` takes the least significant key first. Ids are compared as big-endian numbers of 8
    # bytes, which order as the strings do.
    columns = [records["prefer"][:, k] for k in reversed(range(records["prefer"].shape[1]))]
    letters = np.ascontiguousarray(records["id"]).view(">u8").reshape(len(records), ID_BYTES // 8)
    words = [letters[:, k].astype(np.uint64) for k in reversed(range(letters.shape[1]))]
    order: npt.NDArray[np.int64] = np.lexsort([records["number"], *words, *columns, crawls])
    return order


@dataclass(frozen=True)
class Elected:
    """n documents by rank, as records with `number` and `id`: who represents each (itself: it is
    kept), the similarity to it, and whether their texts are equal.
    """

    records: npt.NDArray[Any]
    representative: npt.NDArray[np.int32]
    similarity: npt.NDArray[np.float32]
    exact: npt.NDArray[np.bool_]


def write_result(
    folder: Exchange, elected: Elected, places: Places, first_new: int
) -> dict[str, JSON]:
    """Write the three files; returns the removed documents by source, those among them that an
    earlier crawl (numbers below `first_new`) has under the same id, and the number of clusters.
    """
    records, representative = elected.records, elected.representative
    # Ranks of removed documents by head, then rank; `head_ranks` are the ranks of the heads.
    removed = np.flatnonzero(representative != np.arange(len(representative)))
    removed = removed[np.argsort(representative[removed], kind="stable")]
    head_ranks, start, sizes = np.unique(
        representative[removed], return_index=True, return_counts=True
    )
    head = np.repeat(np.arange(len(head_ranks)), sizes)
    members = np.zeros(len(removed), MEMBER)
    for name in ("number", "id"):
        members[name] = records[name][removed]
    members["similarity"] = elected.similarity[removed]
    members["exact"] = elected.exact[removed]
    heads = np.zeros(len(head_ranks), HEAD)
    for name in ("number", "id"):
        heads[name] = records[name][head_ranks]
    heads["start"], heads["size"] = start, sizes
    heads["exact"] = np.bincount(head, weights=members["exact"], minlength=len(head_ranks))
    fates = np.zeros(len(removed), FATE)
    for name in ("number", "similarity", "exact"):
        fates[name] = members[name]
    fates["head"] = heads["id"][head]
    repeated = (members["id"] == fates["head"]) & (heads["number"][head] < first_new)
    by_number = np.argsort(fates["number"])
    parts = places.part_of(fates["number"])
    with SegmentWriter(folder, FATES, len(places.starts)) as writer:
        writer.append(parts[by_number], fates[by_number])
    for name, table in (("members", members), ("heads", heads)):
        with folder.create(f"{name}.npy") as path, path.open("wb") as stream:
            np.save(stream, table)
    sources = places.sources[parts]
    count = int(places.sources.max(initial=-1)) + 1
    return {
        "removed": np.bincount(sources, minlength=count).tolist(),
        "repeated": np.bincount(sources[repeated], minlength=count).tolist(),
        "clusters": len(head_ranks),
    }
