"""Greedy election: which documents stay.

Documents come in order of preference; a document's index here is its rank, 0 the most preferred. Definition:

    A document goes if and only if an already elected one either has the same text hash, or shares a band key with it
    and has a Jaccard similarity of at least `verify` with it. The first such one in rank stands for it.

There is no transitive closure: A~B~C does not remove C unless C is itself similar to A. The result depends on the ranks
only, so it is the same however the documents were sharded.

Copies of a text share hash, band keys and similarities, so that only the first of each group takes part in what follows
(10^5 identical documents cost one sort). Within a bucket (documents that share one band's key) a document is compared
with elected ones only, so that a bucket of near duplicates costs one comparison a document.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.dedup.similar import ShingleSets, first_similar

_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)

Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Election:
    """`representative[r]` is the rank of the document that stands for r, r itself where r is elected.

    `similarity[r]` is the Jaccard similarity to it (1 for r itself and for exact copies). Counts: documents in some
    bucket, pairs whose shingles were compared, pairs that reached `verify`, documents of the largest bucket.
    """

    representative: Ranks
    similarity: npt.NDArray[np.float32]
    candidates: int
    compared: int
    verified: int
    largest_bucket: int


def band_keys(signatures: npt.NDArray[np.uint64], bands: int, rows: int) -> npt.NDArray[np.uint64]:
    """One 64-bit key per band, shape (documents, bands); `signatures` has shape (documents, bands * rows)."""
    values = signatures.reshape(len(signatures), bands, rows)
    keys = np.zeros((len(signatures), bands), dtype=np.uint64)
    for row in range(rows):  # a chain of MurmurHash3's mixer: equal keys mean equal rows, but for one pair in 2**64
        keys ^= values[:, :, row]
        keys *= _MIX_1
        keys ^= keys >> _SHIFT
        keys *= _MIX_2
        keys ^= keys >> _SHIFT
    return keys


def first_copies(text_hashes: npt.NDArray[np.uint64]) -> Ranks:
    """For every document the lowest rank with the same text hash; `text_hashes` has shape (documents, 2)."""
    order = np.lexsort((text_hashes[:, 1], text_hashes[:, 0]))  # stable: ranks ascend within equal hashes
    ascending = text_hashes[order]
    starts = np.ones(len(order), dtype=np.bool_)
    starts[1:] = (ascending[1:] != ascending[:-1]).any(axis=1)
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first


@dataclass(frozen=True)
class Buckets:
    """`members[i]`, ascending, lies in buckets `buckets[starts[i]:starts[i + 1]]`; each holds two members or more."""

    members: Ranks
    starts: npt.NDArray[np.int64]
    buckets: npt.NDArray[np.int64]
    largest: int


def bucket(keys: npt.NDArray[np.uint64], ranks: Ranks) -> Buckets:
    """Group documents by band key; `keys` (all documents, bands), `ranks` those that take part, ascending."""
    found_ranks, found_buckets = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    count = largest = 0
    for band in range(keys.shape[1]):
        column = keys[ranks, band]
        order = np.argsort(column, kind="stable")
        column = column[order]
        edges = np.flatnonzero(np.concatenate(([True], column[1:] != column[:-1], [True])))
        sizes = np.diff(edges) if len(column) else np.empty(0, np.int64)
        shared = np.repeat(sizes > 1, sizes)
        numbers = np.repeat(np.cumsum(sizes > 1) - 1 + count, sizes)
        found_ranks.append(ranks[order[shared]])
        found_buckets.append(numbers[shared])
        count += int((sizes > 1).sum())
        largest = max(largest, int(sizes[sizes > 1].max(initial=0)))
    all_ranks, all_buckets = np.concatenate(found_ranks), np.concatenate(found_buckets)
    order = np.argsort(all_ranks, kind="stable")
    members, starts = np.unique(all_ranks[order], return_index=True)
    return Buckets(members, np.append(starts, len(order)), all_buckets[order], largest)


def elect(
    text_hashes: npt.NDArray[np.uint64],
    keys: npt.NDArray[np.uint64],
    shingled: npt.NDArray[np.bool_],
    verify: float,
    load: Callable[[Ranks], ShingleSets],
) -> Election:
    """Elect among documents in order of rank (see the module's docstring).

    Shapes: text_hashes (documents, 2), keys (documents, bands), shingled (documents,): False where a document has no
    shingle, and so no band. `load` reads the shingle sets of the documents that take part in comparisons.
    """
    documents = len(text_hashes)
    first = first_copies(text_hashes)
    found = bucket(keys, np.flatnonzero(shingled & (first == np.arange(documents))))
    sets = load(found.members)
    representative = np.arange(documents, dtype=np.int64)
    similarity = np.ones(documents, dtype=np.float32)
    elected: dict[int, list[int]] = {}
    compared = verified = 0
    for index, rank in enumerate(found.members.tolist()):
        buckets = found.buckets[found.starts[index] : found.starts[index + 1]].tolist()
        candidates = {other for number in buckets for other in elected.get(number, ())}
        if candidates:
            ascending = np.array(sorted(candidates), dtype=np.int64)
            position, jaccard = first_similar(sets, rank, ascending, verify)
            if position >= 0:
                compared += position + 1
                verified += 1
                representative[rank] = ascending[position]
                similarity[rank] = jaccard
                continue
            compared += len(ascending)
        for number in buckets:
            elected.setdefault(number, []).append(rank)
    return Election(representative[first], similarity[first], len(found.members), compared, verified, found.largest)
