"""Opens pinned Parquet files where they lie: on this machine whole, on the hub by row group.

A remote file of known sha256 is read in part: its footer, then the chunks of the wanted columns of
the wanted row groups. So `limit` and `fields` decide what is downloaded.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from infra.remote import cache
from infra.remote.access import Access
from infra.remote.hub import hub_copy
from infra.remote.locations import is_remote
from infra.remote.ranges import read_range
from infra.stage import Pin
from tasks.ingest.lines import ByteRange
from tasks.ingest.parquet import (
    Batch,
    Columns,
    Lost,
    column_ranges,
    open_parquet,
    read_batches,
    row_groups,
)
from tasks.ingest.range_file import RangeFile


@contextlib.contextmanager
def opened(pin: Pin, access: Access) -> Iterator[tuple[pq.ParquetFile, RangeFile | None]]:
    """A pinned file, and the file of ranges beneath it where it is read in part.

    Raises Unreadable("parquet") for a file that is none, or is cut short.
    """
    if not is_remote(pin.path):
        yield _opened(Path(pin.path)), None
    elif (local := hub_copy(pin)) is not None:
        yield _opened(local), None
    elif not pin.sha256 or cache.holds(pin, access):
        with cache.local_copy(pin, access) as copy:
            yield _opened(copy), None
    else:
        fetch = functools.partial(read_range, pin, access=access)
        with RangeFile(pin.bytes, lambda start, stop: fetch(start=start, stop=stop)) as file:
            yield open_parquet(file, _footer(pin, file)), file


def _opened(path: Path) -> pq.ParquetFile:
    return open_parquet(path)


_footers: dict[str, pq.FileMetaData] = {}


def _footer(pin: Pin, file: RangeFile) -> pq.FileMetaData:
    """The footer; a worker that reads several byte ranges of one file fetches it once."""
    if pin.sha256 not in _footers:
        _footers.clear()
        _footers[pin.sha256] = open_parquet(file).metadata
    return _footers[pin.sha256]


def read_pinned(
    pin: Pin,
    byte_range: ByteRange | None,
    access: Access,
    choose: Callable[[pq.ParquetFile], Columns],
) -> Iterator[Batch | Lost]:
    """The rows of the row groups that begin in a byte range of a pinned file, of the columns that
    `choose` names.
    """
    with opened(pin, access) as (file, ranges):
        columns = choose(file)
        groups = row_groups(file.metadata, byte_range)
        if ranges is not None:
            ranges.want(wanted_ranges(file, groups, columns))
        yield from read_batches(file, groups, columns)


def wanted_ranges(
    file: pq.ParquetFile, groups: Sequence[int], columns: Columns
) -> list[tuple[int, int]]:
    """The bytes that hold some columns of some row groups."""
    return column_ranges(file.metadata, groups, columns.names())
