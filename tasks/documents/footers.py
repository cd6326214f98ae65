"""What Parquet files say of themselves at their ends: a file on S3 is not fetched for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from infra.remote import cache
from infra.remote.held import Held
from infra.remote.ranges import read_range
from infra.remote.s3_objects import each

_TAIL_BYTES = 64 << 10
_LENGTH_BYTES = 8
"""After the footer: its length, and the sign of Parquet."""


def rows_of(paths: Sequence[Path]) -> list[int]:
    """Rows of files; several are asked for at a time."""
    return each(lambda path: int(metadata(path).num_rows), paths)


def metadata(path: Path) -> pq.FileMetaData:
    """The footer of a file."""
    if not isinstance(path, Held) or cache.holds(path.pin, path.access):
        return pq.read_metadata(path)
    return pq.read_metadata(pa.BufferReader(_end(path)))


def _end(path: Held) -> bytes:
    size = path.pin.bytes
    tail = read_range(path.pin, max(size - _TAIL_BYTES, 0), size, path.access)
    needed = int.from_bytes(tail[-_LENGTH_BYTES:-4], "little") + _LENGTH_BYTES
    if len(tail) < needed <= size:
        tail = read_range(path.pin, size - needed, size, path.access)
    return tail
