"""What reading a source of crawls takes, before any of it is read: requests and bytes.

Sizes of archives come from a few of them; what the index would find, from some row groups of a few
of its parts. Everything is an estimate, and remembered by what it is an estimate of.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import pyarrow.parquet as pq

from infra.io.files import replace_bytes
from infra.remote import objects
from infra.remote.access import Access
from infra.remote.errors import NoSuchObject
from infra.stage import Pin, StageError
from tasks.ingest.commoncrawl.index import (
    IndexPart,
    bytes_of,
    check_schema,
    deciding,
    opened,
    placing,
    possible,
    wanted,
)
from tasks.ingest.commoncrawl.listing import archive, listing
from tasks.ingest.commoncrawl.pinning import CRAWL, SELECT, crawl_of, ingested, listed_files
from tasks.ingest.commoncrawl.records import GAP_BYTES
from tasks.ingest.range_file import BLOCK_BYTES, TAIL_BYTES
from tasks.ingest.raw_documents import Unreadable
from tasks.ingest.stage import IngestParameters

SAMPLED_ARCHIVES = 16
SAMPLED_PARTS = 4
SAMPLED_GROUPS = 8
SAMPLED_BYTES = 2 << 20
"""Of a part of the index, at most."""

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Reading:
    """Estimated requests and bytes. Of the ranges and the index: 0 without `select`."""

    archives: int
    archive_bytes: int
    """Of all these archives, read whole."""
    index_requests: int = 0
    index_bytes: int = 0
    records: int = 0
    range_requests: int = 0
    range_bytes: int = 0

    @property
    def requests(self) -> int:
        """Of everything that is read."""
        return self.index_requests + self.range_requests if self.index_requests else self.archives

    @property
    def bytes(self) -> int:
        """Of everything that is read."""
        return self.index_bytes + self.range_bytes if self.index_requests else self.archive_bytes

    def to_json(self) -> dict[str, Any]:
        """As `puna plan --json` has it."""
        return {**asdict(self), "requests": self.requests, "bytes": self.bytes}


def estimate(
    parameters: IngestParameters, pins: Mapping[str, Sequence[Pin]], access: Access
) -> Reading:
    """What reading a pinned source takes. Raises as `infra.remote.objects.stat` does, and
    `StageError` for an index that is not as published.
    """
    select = parameters.select.model_dump(mode="json") if parameters.select else None
    key = json.dumps([[pin.name for path in pins for pin in pins[path]], select])
    memory = access.cache / "lookups" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Reading(**json.loads(memory.read_bytes()))
    found = _estimate(parameters, pins, access.impatient())
    replace_bytes(memory, json.dumps(asdict(found)).encode())
    return found


def _estimate(
    parameters: IngestParameters, pins: Mapping[str, Sequence[Pin]], access: Access
) -> Reading:
    archives = [pin.path for pin in listed_files(pins[CRAWL])]
    share = 1.0
    if parameters.select is not None:
        everything = [
            archive(parameters.host, path).path
            for crawl in ingested(pins)
            for path in listing(crawl, parameters.kind, parameters.host, access)[1]
        ]
        archives = archives or everything
        share = len(archives) / len(everything)
    sizes = [
        size
        for size in _several(lambda url: _size(url, access), _spread(archives, SAMPLED_ARCHIVES))
        if size is not None
    ]
    mean = sum(sizes) / len(sizes) if sizes else 0.0
    whole = Reading(len(archives), round(mean * len(archives)))
    if parameters.select is None:
        return whole
    return _with_ranges(whole, mean, share, parameters, pins[SELECT], access)


@dataclass(frozen=True)
class _Part:
    """What a part of the index says of itself."""

    bytes: int
    requests: int
    wanted: float
    length: float
    """Bytes of a wanted record on average; 0 where none was seen."""


def _with_ranges(
    whole: Reading,
    archive_bytes: float,
    share: float,
    parameters: IngestParameters,
    pins: Sequence[Pin],
    access: Access,
) -> Reading:
    assert parameters.select is not None
    select = parameters.select
    parts = listed_files(pins)
    few = _spread(parts, SAMPLED_PARTS)
    seen = _several(lambda pin: _look(IndexPart(crawl_of(pin), pin, select, access)), few)
    scale = len(parts) / len(seen)
    records = scale * share * sum(part.wanted for part in seen)
    matched = sum(part.wanted for part in seen)
    length = sum(part.wanted * part.length for part in seen) / matched if matched else 0.0
    requests, size = joined(records, length, whole.archives, archive_bytes)
    return Reading(
        whole.archives,
        whole.archive_bytes,
        index_requests=round(scale * sum(part.requests for part in seen)),
        index_bytes=round(scale * sum(part.bytes for part in seen)),
        records=round(records),
        range_requests=round(requests),
        range_bytes=round(size),
    )


def joined(
    records: float, length: float, archives: int, archive_bytes: float
) -> tuple[float, float]:
    """(requests, bytes) for records at random places of archives, neighbours within `GAP_BYTES` of
    each other by one request.
    """
    if not records or not archives or not archive_bytes:
        return records, records * length
    apart = max(archive_bytes * archives / records - length, 1.0)  # mean bytes between two
    near = 1 - math.exp(-GAP_BYTES / apart)
    requests = records - max(records - archives, 0) * near
    between = apart - GAP_BYTES * (1 - near) / near if near else 0.0  # of those that are joined
    return requests, records * length + (records - requests) * between


def _look(part: IndexPart) -> _Part:
    """Of some row groups: how many of their records are wanted, and how large these are."""
    try:
        with opened(part.pin, part.access) as (file, _):
            check_schema(file.schema_arrow, part)
            groups = possible(file.metadata, part.select)
            rows = sum(file.metadata.row_group(group).num_rows for group in groups)
            first, rest = deciding(part.select), placing(file.schema_arrow)
            match = length = 0.0
            if groups:
                columns = [*first, "warc_record_length"]
                some = _within(file.metadata, _spread(groups, SAMPLED_GROUPS), columns)
                found = file.read_row_groups(some, columns=columns, use_threads=False)
                chosen = found.filter(wanted(found, part.select))
                match = len(chosen) / max(len(found), 1)
                lengths = (chosen if len(chosen) else found)["warc_record_length"].to_pylist()
                length = sum(lengths) / max(len(lengths), 1)
            read = bytes_of(file.metadata, groups, first)
            read += bytes_of(file.metadata, groups, rest) if match else 0
            chunks = len(groups) * (len(first) + (len(rest) if match else 0))
            blocks = max(read // BLOCK_BYTES, min(chunks, len(groups)))
            return _Part(read + TAIL_BYTES, 2 + blocks, match * rows, length)
    except Unreadable:
        raise StageError(
            f"{part.pin.path}: this part of the index is no whole Parquet file"
        ) from None


def _within(metadata: pq.FileMetaData, groups: Sequence[int], columns: Sequence[str]) -> list[int]:
    """The first row groups whose columns are not too much to read for an estimate; at least one."""
    sizes = itertools.accumulate(bytes_of(metadata, [group], columns) for group in groups)
    fitting = sum(size <= SAMPLED_BYTES for size in sizes)
    return list(groups[: max(fitting, 1)])


def _size(url: str, access: Access) -> int | None:
    try:
        return objects.stat(url, access).bytes
    except NoSuchObject:
        return None


def _spread(items: Sequence[T], count: int) -> list[T]:
    """So many of the items, evenly spaced."""
    step = max(len(items) / count, 1.0)
    return [items[int(number * step)] for number in range(min(count, len(items)))]


def _several(ask: Callable[[T], U], items: Sequence[T]) -> list[U]:
    with concurrent.futures.ThreadPoolExecutor(max(len(items), 1)) as pool:
        return list(pool.map(ask, items))
