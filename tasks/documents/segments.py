"""Segments: files of records in buckets, written by one worker and read by bucket by others.

A segment holds blocks of fixed-size records, each followed by its values (uint32, a run for each
record, whose field `size` is the run's length), and at its end where buckets begin in every block:
a writer holds one block in memory. Within a block records are sorted by bucket, so that a bucket is
one slice of every block, and who wants a bucket reads no more than that of any segment, also where
segments are objects on S3 (`infra.store.exchange`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from infra.store.exchange import Exchange

Records = npt.NDArray[Any]
Values = npt.NDArray[np.uint32]
Buckets = tuple[str, int, int]
"""Name of a segment, and the buckets [first, end) of it."""

_NO_VALUES = np.empty(0, np.uint32)
_END = np.dtype(np.int64)
_END_BYTES = 2 * _END.itemsize
_MOST_KNOWN = 1 << 16


class SegmentWriter:
    """Writes the segment `name`; others see it on a clean exit."""

    def __init__(self, exchange: Exchange, name: str, buckets: int) -> None:
        self._exchange, self._name = exchange, name
        self._buckets = buckets
        self._edges: list[npt.NDArray[np.int64]] = []
        self._end = 0

    def __enter__(self) -> Self:
        self._open = contextlib.ExitStack()
        path = self._open.enter_context(self._exchange.create(self._name))
        self._stream = path.open("wb")
        self._open.push(self._stream)
        return self

    def append(
        self, bucket: npt.NDArray[Any], records: Records, values: Values = _NO_VALUES
    ) -> None:
        """Add a block of records; `values` are those of one record after another.

        `bucket` has the bucket of every record, ascending.
        """
        first = np.searchsorted(bucket, np.arange(self._buckets + 1)).astype(np.int64)
        edges = np.full((self._buckets + 1, 2), self._end, np.int64)
        edges[:, 0] += first * records.itemsize
        edges[:, 1] += records.nbytes
        if len(values):
            runs = np.concatenate(([0], np.cumsum(records["size"], dtype=np.int64)))
            edges[:, 1] += runs[first] * values.itemsize
        self._edges.append(edges)
        self._end += records.nbytes + values.nbytes
        self._stream.write(np.ascontiguousarray(records).data)
        self._stream.write(np.ascontiguousarray(values).data)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            for row in range(self._buckets + 1):
                self._stream.write(np.array([edges[row] for edges in self._edges], _END).data)
            self._stream.write(np.array([self._end, len(self._edges)], _END).data)
        self._open.__exit__(kind, error, traceback)


def segments(
    exchange: Exchange, wanted: Iterable[Buckets], dtype: np.dtype[Any]
) -> Iterator[tuple[Records, Values]]:
    """The slices of these buckets, segment by segment and block by block: (records, values)."""
    pieces = [
        (name, *ends)
        for name, starts, stops in _edges(exchange, list(wanted))
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
        if stop[0] > start[0]
        for ends in zip(start, stop, strict=True)
    ]
    found = exchange.read(pieces)
    for records, values in zip(found, found, strict=True):
        yield records.view(dtype), values.view(np.uint32)


def count(exchange: Exchange, wanted: Iterable[Buckets], dtype: np.dtype[Any]) -> int:
    """Number of records in these buckets."""
    return sum(
        int((stops - starts)[:, 0].sum()) // dtype.itemsize
        for _, starts, stops in _edges(exchange, list(wanted))
    )


def gathered(exchange: Exchange, wanted: Iterable[Buckets], dtype: np.dtype[Any]) -> Records:
    """The records of these buckets, without values."""
    slices = [records for records, _ in segments(exchange, wanted, dtype)]
    return np.concatenate(slices) if slices else np.empty(0, dtype)


def gathered_each(
    exchange: Exchange, wanted: Sequence[Buckets], dtype: np.dtype[Any]
) -> Iterator[Records]:
    """As `gathered`, for each of `wanted` in turn."""
    edges = list(_edges(exchange, wanted))
    found = exchange.read(
        (name, start, stop)
        for name, starts, stops in edges
        for start, stop in zip(starts[:, 0].tolist(), stops[:, 0].tolist(), strict=True)
    )
    for _, starts, _ in edges:
        slices = [next(found).view(dtype) for _ in starts]
        yield np.concatenate([np.empty(0, dtype), *slices])


def bucket_of(names: Iterable[str], bucket: int) -> list[Buckets]:
    """One bucket of each of these segments."""
    return [(name, bucket, bucket + 1) for name in names]


def _edges(
    exchange: Exchange, wanted: Sequence[Buckets]
) -> Iterator[tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """(name, first bytes, last bytes) of each; shape (blocks, 2), of records and of values.

    Only the rows of these buckets are read: this is asked for every pair of a bucket and a segment.
    """
    ends = _ends(exchange, [name for name, _, _ in wanted])
    pieces = []
    for name, first, end in wanted:
        at, blocks = ends[name]
        row = 2 * _END.itemsize * blocks
        pieces += [(name, at + bucket * row, at + (bucket + 1) * row) for bucket in (first, end)]
    rows = exchange.read(pieces)
    for (name, _, _), start, stop in zip(wanted, rows, rows, strict=True):
        yield name, start.view(_END).reshape(-1, 2), stop.view(_END).reshape(-1, 2)


_known: dict[tuple[str, str], tuple[int, int]] = {}


def _ends(exchange: Exchange, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Segment -> (where its edges are, blocks); read once by a process."""
    url = exchange.directory.url
    new = [name for name in dict.fromkeys(names) if (url, name) not in _known]
    if new:
        if len(_known) > _MOST_KNOWN:
            _known.clear()
        sizes = exchange.sizes(new)
        read = exchange.read(
            (name, max(size - _END_BYTES, 0), max(size, _END_BYTES))
            for name, size in zip(new, sizes, strict=True)
        )
        for name, end in zip(new, read, strict=True):
            at, blocks = end.view(_END).tolist()
            _known[url, name] = at, blocks
    return {name: _known[url, name] for name in names}
