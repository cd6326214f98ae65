"""Scratch files of records dealt into buckets: what one step writes by part and the next one reads by bucket.

A folder holds `records.bin` (fixed-size records), `values.bin` (uint32, a run of them for each record, whose field
`size` says how many) and `edges.npy`. Records come in blocks, so that a writer holds one block in memory; within a
block they are sorted by bucket, so that a bucket is one slice of every block. A folder appears whole or not at all;
it is not flushed to disk, since scratch has to outlive a killed process and not a power cut (a file of the wrong length
is refused with what to do).
"""

from __future__ import annotations

import os
import secrets
import shutil
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


class SegmentWriter:
    """Writes the folder `path`; on a clean exit it replaces what an earlier try left there."""

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

    def append(self, bucket: npt.NDArray[Any], records: Records, values: Values = _NO_VALUES) -> None:
        """Add a block: the bucket of every record, ascending, and the records' values one after the other."""
        at = np.searchsorted(bucket, np.arange(self._buckets + 1)).astype(np.int64)
        edges = np.stack([at, at])
        if len(values):
            edges[1] = np.concatenate(([0], np.cumsum(records["size"], dtype=np.int64)))[at]
        else:
            edges[1] = 0
        edges += self._ends
        self._ends = edges[:, -1:]
        self._edges.append(edges)
        self._records.write(np.ascontiguousarray(records).data)
        self._values.write(np.ascontiguousarray(values).data)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._records.close()
        self._values.close()
        if kind is not None:
            shutil.rmtree(self._staged)
            return
        edges = np.stack(self._edges) if self._edges else np.empty((0, 2, self._buckets + 1), np.int64)
        np.save(self._staged / "edges.npy", edges)
        if self._path.exists():
            shutil.rmtree(self._path)
        self._staged.rename(self._path)


def segments(path: Path, bucket: int, dtype: np.dtype[Any]) -> Iterator[tuple[Records, Values]]:
    """The slices of a bucket in the folder `path`, block by block: records, and their values."""
    edges = np.load(path / "edges.npy", mmap_mode="r")
    for first, last in zip(edges[:, :, bucket].tolist(), edges[:, :, bucket + 1].tolist(), strict=True):
        if last[0] > first[0]:
            yield (
                _slice(path / "records.bin", dtype, first[0], last[0]),
                _slice(path / "values.bin", np.dtype(np.uint32), first[1], last[1]),
            )


def count(path: Path, bucket: int) -> int:
    """Records of a bucket in the folder `path`."""
    edges = np.load(path / "edges.npy", mmap_mode="r")
    return int((edges[:, 0, bucket + 1] - edges[:, 0, bucket]).sum())


def gathered(paths: list[Path], bucket: int, dtype: np.dtype[Any]) -> Records:
    """The records of a bucket in all folders."""
    found = [records for path in paths for records, _ in segments(path, bucket, dtype)]
    return np.concatenate(found) if found else np.empty(0, dtype)


def _slice(path: Path, dtype: np.dtype[Any], first: int, last: int) -> npt.NDArray[Any]:
    found = np.fromfile(path, dtype, last - first, offset=first * dtype.itemsize)
    if len(found) != last - first:
        raise StageError(
            f"{path} ends before record {last}: it was damaged after it was written; run again with --force dedup"
        )
    return found
