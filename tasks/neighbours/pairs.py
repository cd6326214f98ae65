"""Pairs of near vectors: a product of matrices finds them, a sum in float64 measures them.

A matrix product rounds differently with its shape and the processor. So it only proposes pairs, a
little below the floor; their cosine is then computed one by one, which is equal everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from infra.one_thread import one_thread

Half = npt.NDArray[np.float16]
Indices = npt.NDArray[np.int64]

_SLACK = 1e-5
"""What a product in float32 may miss of a cosine."""
_QUERIES, _DATABASE = 1_024, 8_192
_EXACT_ROWS = 4_096


class Pairs(NamedTuple):
    """m pairs: rows of the queries and of the database, and their cosines."""

    query: Indices
    other: Indices
    cosine: npt.NDArray[np.float32]


def near(queries: Half, database: Half, floor: float, most: int) -> Pairs:
    """Pairs of a query and a vector of the database with a cosine of at least `floor`; of each
    query, the `most` nearest.
    """
    return _joined(_search(queries, database, floor, most, within=False))


def near_within(vectors: Half, floor: float, most: int) -> Pairs:
    """The same among vectors, each pair once, the lower row first; `most` of each row with later
    ones.
    """
    return _joined(_search(vectors, vectors, floor, most, within=True))


def _search(
    queries: Half, database: Half, floor: float, most: int, *, within: bool
) -> Iterator[Pairs]:
    for first in range(0, len(queries), _QUERIES):
        block = _unit(queries[first : first + _QUERIES])
        found = _EMPTY
        for start in range(first if within else 0, len(database), _DATABASE):
            with one_thread():
                cosines = block @ _unit(database[start : start + _DATABASE]).T
            rows, columns = np.nonzero(cosines >= floor - _SLACK)
            values = cosines[rows, columns]
            rows, columns = rows + first, columns + start
            if within:
                later = columns > rows
                rows, columns, values = rows[later], columns[later], values[later]
            found = _nearest(_joined([found, Pairs(rows, columns, values)]), most)
        exact = _cosines(queries, database, found)
        kept = exact >= np.float32(floor)
        yield Pairs(found.query[kept], found.other[kept], exact[kept])


def _unit(vectors: Half) -> npt.NDArray[np.float32]:
    """Stored vectors in float32: float16 left them a little longer or shorter than 1."""
    found: npt.NDArray[np.float32] = vectors.astype(np.float32)
    found /= np.sqrt(np.einsum("nd,nd->n", found, found))[:, None]
    return found


def _cosines(queries: Half, database: Half, pairs: Pairs) -> npt.NDArray[np.float32]:
    """The cosines of pairs, from the vectors as they are stored."""
    found = np.empty(len(pairs.query), np.float32)
    for first in range(0, len(found), _EXACT_ROWS):
        rows = slice(first, first + _EXACT_ROWS)
        one = queries[pairs.query[rows]].astype(np.float64)
        other = database[pairs.other[rows]].astype(np.float64)
        lengths = np.sqrt((one * one).sum(axis=1) * (other * other).sum(axis=1))
        found[rows] = np.minimum((one * other).sum(axis=1) / lengths, 1.0)
    return found


def _nearest(pairs: Pairs, most: int) -> Pairs:
    """The `most` nearest of each query, by query; of equally near ones the lower row."""
    order = np.lexsort((pairs.other, -pairs.cosine, pairs.query))
    query = pairs.query[order]
    first = np.searchsorted(query, query, side="left")
    chosen = order[np.arange(len(order)) - first < most]
    return Pairs(pairs.query[chosen], pairs.other[chosen], pairs.cosine[chosen])


def _joined(pairs: Iterator[Pairs] | list[Pairs]) -> Pairs:
    columns = zip(_EMPTY, *pairs, strict=True)
    return Pairs(*(np.concatenate(column) for column in columns))


_EMPTY = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
