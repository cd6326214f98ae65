"""Best-fit-decreasing packing (Ding et al. 2024, arXiv:2404.10830): which documents share a row.

1. Cut every document of at least one row into whole rows of L tokens and a rest of 0 to L - 1.
   Nothing is truncated, and a whole row holds one piece.
2. Sort the rests (shorter documents are their own rest) from the longest to the shortest.
3. Put each into the fullest row that still has room for it; where none has, open a new row.
4. Order the pieces of a row by document, and the rows by their first piece.

Symbols: L the row length (`sequence_length`, `capacity`); room: the free tokens of a row.

Example with L = 8 and documents a 11, b 5, c 4, d 3, e 1. Document a gives one whole row and a rest
of 3. The rests by length are b 5, c 4, a 3, d 3, e 1:
    b opens row 0 (room 3); c opens row 1 (room 4)
    a fits row 0 exactly (room 0); d goes into row 1 (room 1), and so does e (room 0)
Three full rows: [a 0-7], [a 8-10, b], [c, d, e].
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class DocumentSlice(NamedTuple):
    """Tokens [offset, offset + length) of document number `document`."""

    document: int
    offset: int
    length: int


def best_fit(lengths: npt.NDArray[np.int64], capacity: int) -> npt.NDArray[np.int64]:
    """Row number of each item; items are 1 to `capacity` long, rows hold at most `capacity`.

    `with_room` lists the open rows by their room; bit r of the integer `rooms` says whether any row
    has room r. The smallest room that suffices is then the lowest set bit at or above the item's
    length. Among rows of equal room, the one changed last is taken. Time grows with items x
    capacity / 64 (words of the integer); measured: 1.1 us an item at 4,096.

    Raises:
        ValueError: an item is empty or longer than a row.
    """
    rows = np.empty(len(lengths), np.int64)
    with_room: defaultdict[int, list[int]] = defaultdict(list)
    rooms = 0
    opened = 0
    for item in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[item])
        if not 0 < length <= capacity:
            raise ValueError(
                f"item {item} has length {length}; a row takes 1 to {capacity}: cut it first"
            )
        if enough := rooms >> length:  # `enough & -enough` keeps the lowest set bit only
            room = length + (enough & -enough).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room  # that was the last row with this room
        else:
            room, row = capacity, opened
            opened += 1
        rows[item] = row
        if left := room - length:
            with_room[left].append(row)
            rooms |= 1 << left
    return rows


def pack(lengths: npt.NDArray[np.int64], sequence_length: int) -> list[list[DocumentSlice]]:
    """Rows of pieces that hold every token of documents of these lengths exactly once.

    Rows are ordered by their first piece, pieces within a row by document.
    """
    rows = [
        [DocumentSlice(document, offset, sequence_length)]
        for document in np.flatnonzero(lengths >= sequence_length).tolist()
        for offset in range(0, int(lengths[document]) - sequence_length + 1, sequence_length)
    ]
    rests = lengths % sequence_length
    documents = np.flatnonzero(rests)
    assigned = best_fit(rests[documents], sequence_length)
    # Sort by row, then by document; an edge is where the row number changes.
    order = np.lexsort((documents, assigned))
    edges = np.flatnonzero(np.diff(assigned[order], prepend=-1))
    for members in np.split(documents[order], edges[1:]) if len(order) else []:
        rows.append(
            [DocumentSlice(d, int(lengths[d] - rests[d]), int(rests[d])) for d in members.tolist()]
        )
    return sorted(rows)
