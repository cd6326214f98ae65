"""Greedy election: which documents are kept.

Documents come in order of preference; a document's index here is its rank, 0 the most preferred.
Definition:

    A document is removed if and only if an already elected one either has the same text hash, or
    shares a band key with it and has a Jaccard similarity of at least `verify` with it. The lowest
    ranked such document represents it.

There is no transitive closure: A~B~C does not remove C unless C is itself similar to A. Settled
documents (those of earlier crawls) are always elected, whatever they are similar to.

Terms: a *group* is the set of documents that share one band's key (the LSH bands of
`tasks.text.lsh`). Copies of a text share hash, band keys and similarities, so the caller passes
only the first copy of each. A group is *hot* once it has more than `HOT` elected documents.

The loop over all documents is in `tasks.dedup.election_loop`.

Example, `verify` = 0.6:

    rank  shingles  groups
    0     a b c d   g0        elected (the first always is)
    1     a b c e   g0 g1     meets 0 in g0: 3 of 5 shingles in common, 0.6: removed
    2     b c e f   g1        g1 has no elected document (1 was removed): elected, although its
                              similarity to 1 is 0.6 as well

Leader clustering in one pass: Hartigan, "Clustering Algorithms", 1975, chapter 3; candidates by
bands: Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4.

Importing this module compiles the loops.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.dedup.election_loop import (
    COMPARED,
    DONE,
    RELEASE,
    VERIFIED,
    Groups,
    Progress,
    Ranks,
    elect_from,
)
from tasks.dedup.prefixes import TOUCHED_BYTES, empty_index, grown, release
from tasks.dedup.similarity import Sets

HOT = 64
"""A group with up to this many elected documents is searched one by one, a larger one by index."""


@dataclass(frozen=True)
class Candidates:
    """n documents in order of rank, and their m memberships in groups.

    `sets` holds their shingles. `groups[group_starts[r]:group_starts[r + 1]]` are the numbers,
    ascending, of the groups that r belongs to.
    """

    sets: Sets
    group_starts: npt.NDArray[np.int64]  # (n + 1,)
    groups: npt.NDArray[np.int32]  # (m,)
    settled: npt.NDArray[np.bool_]  # (n,): of an earlier crawl, elected in advance


@dataclass(frozen=True)
class Election:
    """`representative[r]` is the rank of the document that represents r: r itself if elected.

    `similarity[r]` is the Jaccard similarity between the two, 1 for r itself. Counts: `compared`
    pairs of shingle sets, `verified` pairs that reached the threshold, `indexed` documents.
    """

    representative: Ranks
    similarity: npt.NDArray[np.float32]
    compared: int
    verified: int
    indexed: int


def elect(candidates: Candidates, verify: float, memory: int = 1 << 62, hot: int = HOT) -> Election:
    """Elect among documents; see the module's docstring.

    `memory` bounds the index of hot groups, in bytes; `IndexTooLarge` where that is too little.
    """
    # Read-only, as a file mapped for reading is: the loops are compiled for that type of array.
    values = candidates.sets.values.view()
    values.flags.writeable = False
    sets = candidates.sets._replace(values=values)
    documents = len(sets.sizes)
    sizes = np.bincount(candidates.groups, minlength=1)
    list_starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    groups = Groups(
        candidates.group_starts,
        candidates.groups,
        list_starts,
        np.empty(len(candidates.groups), np.int32),
        np.zeros(len(sizes), np.int32),
        np.zeros(len(sizes), np.int32),
    )
    counters = np.zeros(4, np.int64)
    progress = Progress(
        np.arange(documents, dtype=np.int32),
        np.ones(documents, np.float32),
        np.zeros(documents, np.int32),
        counters,
    )
    index = empty_index(sets, _members(candidates, sizes > hot))
    most_touched = TOUCHED_BYTES // sets.values.itemsize
    # The loop cannot unmap pages or allocate a larger index: it returns here for either, and then
    # goes on with the rank it stopped at.
    while True:
        reason = elect_from(
            sets, groups, candidates.settled, verify, hot, index, progress, most_touched
        )
        if reason == DONE:
            break
        if reason == RELEASE:
            release(sets.values)
        else:
            index = grown(index, sets, memory)
    release(sets.values)
    return Election(
        progress.representative,
        progress.similarity,
        int(counters[COMPARED]),
        int(counters[VERIFIED]),
        int(np.count_nonzero(index.row)),
    )


def _members(candidates: Candidates, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Ranks of the documents in the chosen groups, ascending."""
    if not chosen.any():
        return np.empty(0, np.int64)
    ranks = np.repeat(np.arange(len(candidates.sets.sizes)), np.diff(candidates.group_starts))
    return np.unique(ranks[chosen[candidates.groups]])
