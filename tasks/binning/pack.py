"""Best-fit-decreasing packing: which documents share a row, no token lost.

A document longer than a row is cut into whole rows and a rest (never truncated, Ding et al. 2024,
arXiv:2404.10830). Documents and rests are then placed from the longest to the shortest, each into
the fullest row that still takes it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Piece(NamedTuple):
    """Tokens [offset, offset + length) of document number `document`."""

    document: int
    offset: int
    length: int


def best_fit(lengths: npt.NDArray[np.int64], capacity: int) -> npt.NDArray[np.int64]:
    """Row number of each item; items are 1 to `capacity` long, rows hold at most `capacity`.

    The rows with room are kept by their room, and the rooms that occur as the bits of one integer,
    so that the smallest room that suffices is its lowest set bit from the item's length on. Equal
    rooms: the row last touched. Time grows as items x capacity / 64; measured 1.1 us an item at
    4,096.
    """
    rows = np.empty(len(lengths), np.int64)
    with_room: defaultdict[int, list[int]] = defaultdict(list)
    rooms = 0
    opened = 0
    for item in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[item])
        if not 0 < length <= capacity:
            raise ValueError(
                f"item {item} is {length} long; rows take 1 to {capacity}: cut it first"
            )
        if enough := rooms >> length:
            room = length + (enough & -enough).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
        else:
            room, row = capacity, opened
            opened += 1
        rows[item] = row
        if left := room - length:
            with_room[left].append(row)
            rooms |= 1 << left
    return rows


def pack(lengths: npt.NDArray[np.int64], sequence_length: int) -> list[list[Piece]]:
    """Rows of pieces that hold every token of documents of these lengths exactly once.

    Rows stand in the order of the first document in them, pieces of a row in the order of their
    documents.
    """
    rows = [
        [Piece(document, offset, sequence_length)]
        for document in np.flatnonzero(lengths >= sequence_length).tolist()
        for offset in range(0, int(lengths[document]) - sequence_length + 1, sequence_length)
    ]
    rests = lengths % sequence_length
    documents = np.flatnonzero(rests)
    assigned = best_fit(rests[documents], sequence_length)
    order = np.lexsort((documents, assigned))
    edges = np.flatnonzero(np.diff(assigned[order], prepend=-1))
    for members in np.split(documents[order], edges[1:]) if len(order) else []:
        rows.append([Piece(d, int(lengths[d] - rests[d]), int(rests[d])) for d in members.tolist()])
    return sorted(rows)
