"""Opens pinned Parquet files where they lie: on this machine whole, on the hub by row group.

A remote file of known sha256 is read in part: its footer, then the chunks of the wanted columns of
the wanted row groups. So `limit` and `fields` decide what is downloaded.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from infra.remote import cache
from infra.remote.access import Access
from infra.remote.locations import is_remote
from infra.remote.ranges import read_range
from infra.stage import Pin
from tasks.ingest.parquet import column_ranges, open_parquet
from tasks.ingest.parquet_columns import Columns, projection
from tasks.ingest.range_file import RangeFile


@dataclass(frozen=True)
class Opened:
    """An open file, the sha256 of its content, and what fetches it where it is read in part."""

    file: pq.ParquetFile
    sha256: str
    ranges: RangeFile | None = None

    def want(self, groups: Sequence[int], columns: Columns) -> None:
        """Say what will be read, so that it is fetched ahead of the reader."""
        if self.ranges is not None:
            names = projection(self.file.schema_arrow, columns)
            self.ranges.want(column_ranges(self.file.metadata, groups, names))


@contextlib.contextmanager
def opened(pin: Pin, access: Access) -> Iterator[Opened]:
    """A pinned file, wherever it is.

    Raises Unreadable("parquet") for a file that is none, or is cut short.
    """
    if not is_remote(pin.path):
        yield Opened(open_parquet(Path(pin.path)), pin.sha256)
    elif not pin.sha256 or cache.holds(pin, access):
        with cache.local_pin(pin, access) as copy:
            yield Opened(open_parquet(Path(copy.path)), copy.sha256)
    else:
        fetch = functools.partial(read_range, pin, access=access)
        with RangeFile(pin.bytes, lambda start, stop: fetch(start=start, stop=stop)) as file:
            yield Opened(open_parquet(file, _footer(pin, file)), pin.sha256, file)


_footers: dict[str, pq.FileMetaData] = {}


def _footer(pin: Pin, file: RangeFile) -> pq.FileMetaData:
    """The footer; a worker that reads several byte ranges of one file fetches it once."""
    if pin.sha256 not in _footers:
        _footers.clear()
        _footers[pin.sha256] = open_parquet(file).metadata
    return _footers[pin.sha256]
