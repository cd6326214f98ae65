"""Divides a source's files into parts, the units of work: consecutive files, or slices of large
ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from infra.remote.access import Access
from infra.remote.locations import is_remote
from infra.stage import Pin
from tasks.ingest.decompress import compression
from tasks.ingest.lines import ByteRange
from tasks.ingest.stage import IngestParameters

if TYPE_CHECKING:
    from tasks.ingest.commoncrawl.records import ArchiveRecords

Reader = Literal["warc", "wet", "jsonl", "text", "parquet", "rows", "records"]
"""How files are read. Those of format `hf` are read as what they are; "rows" are those that only
`datasets` knows. "records" are places in archives.
"""

PARTS = 32
PART_BYTES = (4 << 20, 64 << 20)
"""Smallest and largest size of a part, in bytes of input.

Within these limits, a part is a 32nd (`PARTS`) of the input, so that a small crawl keeps all
workers busy and a large one is not cut into too many files.
"""


@dataclass(frozen=True)
class FileSlice:
    """A file, or a byte range of one."""

    pin: Pin
    byte_range: ByteRange | None = None

    @property
    def bytes(self) -> int:
        """Size of the byte range or file."""
        return self.byte_range.stop - self.byte_range.start if self.byte_range else self.pin.bytes

    @property
    def is_first(self) -> bool:
        """Whether it holds the beginning of its file, where failures of the file are counted."""
        return self.byte_range is None or self.byte_range.start == 0


@dataclass(frozen=True)
class PartInput:
    """The input of one part, in order; only its first `limit` documents are kept.

    `reader` and `options` say how its files are read (`tasks.ingest.readers`). `places`: what
    the reader "records" reads, in place of slices.
    """

    source: str
    slices: tuple[FileSlice, ...]
    parameters: IngestParameters
    reader: Reader
    options: Mapping[str, Any] = field(default_factory=dict)
    access: Access = field(default_factory=Access)
    following: Pin | None = None
    """A remote object that a later part begins with, fetched while this one's last is read."""
    limit: int | None = None
    places: tuple[ArchiveRecords, ...] = ()

    @property
    def may_be_gone(self) -> bool:
        """Whether its files were listed but not asked for, so that some may not be there."""
        return self.parameters.format == "commoncrawl"


def part_plan(files: Iterable[Pin], reader: str) -> Iterator[tuple[FileSlice, ...]]:
    """The input of each part: consecutive files until they reach a part's size (`PART_BYTES`).

    A larger file is a part of its own, except that local files of uncompressed JSONL, and Parquet,
    are cut into byte ranges. The plan depends on the files only, never on the machine.
    """
    pins = list(files)
    size = min(max(sum(pin.bytes for pin in pins) // PARTS, PART_BYTES[0]), PART_BYTES[1])
    group: list[FileSlice] = []
    for file_slice in itertools.chain.from_iterable(_cut(pin, size, reader) for pin in pins):
        group.append(file_slice)
        if sum(member.bytes for member in group) >= size:
            yield tuple(group)
            group = []
    if group:
        yield tuple(group)


def _cut(pin: Pin, size: int, reader: str) -> Iterator[FileSlice]:
    if pin.bytes < 2 * size or not _can_be_cut(pin, reader):
        yield FileSlice(pin)
        return
    count = pin.bytes // size
    edges = [number * pin.bytes // count for number in range(count + 1)]
    for start, stop in itertools.pairwise(edges):
        yield FileSlice(pin, ByteRange(start, stop))


def _can_be_cut(pin: Pin, reader: str) -> bool:
    """Parquet at its row groups, lines where it is seen that they are not compressed."""
    if reader == "jsonl" and not is_remote(pin.path):
        return not compression(Path(pin.path))
    return reader == "parquet"
