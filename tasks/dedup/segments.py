"""Segments: scratch files of records in buckets, written by part and read by bucket.

A segment is a folder with `records.bin` (fixed-size records), `values.bin` (uint32, a run for each
record, whose field `size` is the run's length) and `edges.bin` (where buckets begin). Records come
in blocks, so that a writer holds one block in memory; within a block they are sorted by bucket, so
that a bucket is one slice of every block. A folder appears whole or not at all. It is not flushed
to disk: scratch must survive a killed process, not a power cut (a file that is too short is
refused, with what to do).
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from infra.stage import StageError

Records = npt.NDArray[Any]
Values = npt.NDArray[np.uint32]

_NO_VALUES = np.empty(0, np.uint32)
_VALUE = np.dtype(np.uint32)


class SegmentWriter:
    """Writes the segment `path`; on a clean exit it replaces what an earlier attempt left there."""

    def __init__(self, path: Path, buckets: int) -> None:
        self._path = path
        self._buckets = buckets
        self._staged = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
        self._edges: list[npt.NDArray[np.int64]] = []
        self._ends = np.zeros((2, 1), np.int64)

    def __enter__(self) -> Self:
        self._staged.mkdir(parents=True)
        self._records = (self._staged / "records.bin").open("wb")
        self._values = (self._staged / "values.bin").open("wb")
        return self

    def append(
        self, bucket: npt.NDArray[Any], records: Records, values: Values = _NO_VALUES
    ) -> None:
        """Add a block of records; `values` are those of one record after another.

        `bucket` has the bucket of every record, ascending.
        """
        first = np.searchsorted(bucket, np.arange(self._buckets + 1)).astype(np.int64)
        edges = np.stack([first, first])
        if len(values):
            edges[1] = np.concatenate(([0], np.cumsum(records["size"], dtype=np.int64)))[first]
        else:
            edges[1] = 0
        edges += self._ends
        self._ends = edges[:, -1:]
        self._edges.append(edges)
        self._records.write(np.ascontiguousarray(records).data)
        self._values.write(np.ascontiguousarray(values).data)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._records.close()
        self._values.close()
        if kind is not None:
            shutil.rmtree(self._staged)
            return
        edges = (
            np.stack(self._edges) if self._edges else np.empty((0, 2, self._buckets + 1), np.int64)
        )
        with (self._staged / "edges.bin").open("wb") as stream:
            stream.write(np.int64(len(edges)).tobytes())
            stream.write(np.ascontiguousarray(edges.transpose(2, 0, 1)).data)
        if self._path.exists():
            shutil.rmtree(self._path)
        self._staged.rename(self._path)


def segments(path: Path, bucket: int, dtype: np.dtype[Any]) -> Iterator[tuple[Records, Values]]:
    """The slices of a bucket in the segment `path`, block by block: (records, their values)."""
    edges = _edges(path, bucket)
    if not (edges[1, :, 0] > edges[0, :, 0]).any():
        return
    with (
        (path / "records.bin").open("rb", buffering=0) as records,
        (path / "values.bin").open("rb", buffering=0) as values,
    ):
        for first, last in zip(*edges.tolist(), strict=True):
            if last[0] > first[0]:
                yield (
                    _slice(records, dtype, first[0], last[0]),
                    _slice(values, _VALUE, first[1], last[1]),
                )


def count(path: Path, bucket: int) -> int:
    """Number of records of a bucket in the segment `path`."""
    first, last = _edges(path, bucket)[:, :, 0]
    return int((last - first).sum())


def _edges(path: Path, bucket: int) -> npt.NDArray[np.int64]:
    """Where a bucket begins and ends in every block, shape (2, blocks, 2).

    The first axis is (begin, end), the last (in records, in values). This is called once for every
    pair of a bucket and a segment, so it reads only that bucket's row of the file.
    """
    with (path / "edges.bin").open("rb", buffering=0) as stream:
        blocks = int.from_bytes(stream.read(8), sys.byteorder)
        row = 2 * 8 * blocks
        stream.seek(8 + bucket * row)
        return np.frombuffer(stream.read(2 * row), np.int64).reshape(2, blocks, 2)


def gathered(paths: list[Path], bucket: int, dtype: np.dtype[Any]) -> Records:
    """The records of a bucket in all segments."""
    slices = [records for path in paths for records, _ in segments(path, bucket, dtype)]
    return np.concatenate(slices) if slices else np.empty(0, dtype)


def _slice(stream: Any, dtype: np.dtype[Any], first: int, last: int) -> npt.NDArray[Any]:
    if first == last:
        return np.empty(0, dtype)
    stream.seek(first * dtype.itemsize)
    records = np.fromfile(stream, dtype, last - first)
    if len(records) != last - first:
        raise StageError(
            f"{stream.name} ends before record {last}: it was damaged after it was written; run "
            "again with --force dedup"
        )
    return records
