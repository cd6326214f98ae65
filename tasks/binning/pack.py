"""Which documents share a row. Every packing holds every token exactly once.

`best-fit` (best-fit-decreasing, Ding et al. 2024, arXiv:2404.10830):

1. Cut every document of at least one row into whole rows of L tokens and a rest of 0 to L - 1.
   Nothing is truncated, and a whole row holds one piece.
2. Sort the rests (shorter documents are their own rest) from the longest to the shortest.
3. Put each into the fullest row that still has room for it; where none has, open a new row.
4. Order the pieces of a row by document, and the rows by their first piece.

`concat`: documents one after the other, cut where a row ends; only the last row has padding.

`document`: a document begins its own row, and a longer one goes on in rows of its own; the rest of
its last row is padding.

Symbols: L the row length (`sequence_length`, `capacity`); room: the free tokens of a row.

Example with L = 8 and documents a 11, b 5, c 4, d 3, e 1. In best-fit, document a gives one whole
row and a rest of 3. The rests by length are b 5, c 4, a 3, d 3, e 1:
    b opens row 0 (room 3); c opens row 1 (room 4)
    a fits row 0 exactly (room 0); d goes into row 1 (room 1), and so does e (room 0)
Three full rows: [a 0-7], [a 8-10, b], [c, d, e].
concat gives [a 0-7], [a 8-10, b], [c, d, e] too; document [a 0-7], [a 8-10], [b], [c], [d], [e].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.binning.kernels import place_best_fit
from tasks.binning.stage import Packing

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pieces:
    """P pieces of documents in rows, ordered by row and by place in the row.

    Piece p is the tokens [offset, offset + length) of document number `document`, at `start` of row
    number `row`; rows count from 0, without gaps. All arrays int64 of shape (P,).
    """

    row: Integers
    start: Integers
    document: Integers
    offset: Integers
    length: Integers

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.row[-1]) + 1 if len(self.row) else 0


def pack(lengths_N: Integers, sequence_length: int, packing: Packing = "best-fit") -> Pieces:
    """The pieces of N documents of these lengths (in tokens), in rows of `sequence_length`."""
    if packing == "concat":
        return _concat(lengths_N, sequence_length)
    document, offset, length = _cut(lengths_N, sequence_length)
    if packing == "document":
        rows = np.arange(len(document))
        return Pieces(rows, np.zeros_like(rows), document, offset, length)
    whole = length == sequence_length
    assigned = np.empty(len(document), np.int64)
    assigned[~whole] = best_fit(length[~whole], sequence_length)
    opened = int(assigned[~whole].max(initial=-1)) + 1
    assigned[whole] = np.arange(opened, opened + np.count_nonzero(whole))
    # Pieces are in document order, so the first of a row is the one with the smallest number.
    number = np.arange(len(document))
    first = np.full(opened + np.count_nonzero(whole), len(document))
    np.minimum.at(first, assigned, number)
    order = np.lexsort((number, first[assigned]))
    edge = np.diff(first[assigned][order], prepend=-1) != 0
    return _placed(np.cumsum(edge) - 1, document[order], offset[order], length[order])


def best_fit(lengths: Integers, capacity: int) -> Integers:
    """Row number of each item; items are 1 to `capacity` long, rows hold at most `capacity`.

    Longest first, each into the fullest row that has room; among rows of equal room, the one
    changed last.

    Raises:
        ValueError: an item is empty or longer than a row.
    """
    wrong = np.flatnonzero((lengths < 1) | (lengths > capacity))
    if len(wrong):
        raise ValueError(
            f"item {wrong[0]} has length {lengths[wrong[0]]}; a row takes 1 to {capacity}: cut it "
            "first"
        )
    order = np.argsort(-lengths, kind="stable")
    rows: Integers = place_best_fit(np.ascontiguousarray(lengths), order, capacity)
    return rows


def _cut(lengths_N: Integers, sequence_length: int) -> tuple[Integers, Integers, Integers]:
    """(document, offset, length) of pieces of at most a row, in the order of the documents."""
    counts = -(-lengths_N // sequence_length)
    document = np.repeat(np.arange(len(lengths_N)), counts)
    offset = sequence_length * _places(counts)
    return document, offset, np.minimum(lengths_N[document] - offset, sequence_length)


def _concat(lengths_N: Integers, sequence_length: int) -> Pieces:
    ends = np.cumsum(lengths_N)
    total = int(ends[-1]) if len(ends) else 0
    # A piece begins where a document does and where a row does.
    begins = np.unique(np.concatenate([ends - lengths_N, np.arange(0, total, sequence_length)]))
    begins = begins[begins < total]
    document = np.searchsorted(ends, begins, side="right")
    return Pieces(
        begins // sequence_length,
        begins % sequence_length,
        document,
        begins - (ends - lengths_N)[document],
        np.diff(begins, append=total),
    )


def _places(counts: Integers) -> Integers:
    """0 to n - 1 for each count n, one after the other."""
    places: Integers = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return places


def _placed(row: Integers, document: Integers, offset: Integers, length: Integers) -> Pieces:
    """Pieces in order that stand one after the other in their rows."""
    before = np.cumsum(length) - length
    edges = np.flatnonzero(np.diff(row, prepend=-1))
    start = before - np.repeat(before[edges], np.diff(edges, append=len(row)))
    return Pieces(row, start, document, offset, length)
