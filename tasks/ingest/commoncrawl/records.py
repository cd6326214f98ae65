"""Records of archives by their byte ranges, as the index gives them."""

from __future__ import annotations

import concurrent.futures
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.remote.access import Access
from infra.remote.errors import NoSuchObject
from infra.remote.ranges import Range, join, read_range
from infra.stage import Pin
from tasks.ingest.decompress import Chunk
from tasks.ingest.page import Extractor
from tasks.ingest.raw_documents import GONE, INDEX, RawDocument, Rejected, Wanted
from tasks.ingest.record import Record
from tasks.ingest.records import records
from tasks.ingest.web import HEADERS_BYTES, crawl_of_archive, outcome_of

GAP_BYTES = 128 << 10
"""Ranges of an archive this far apart are one request.

A tenth of records of 20 kB, with 50 ms latency, 20 MB/s and 5 requests in flight, takes 10.6 s
unjoined, 7.4 with gaps of 64 KiB, 5.6 of 128, 5.0 of 256 and 8.5 of 512; but 256 reads twice the
bytes of 128. For a hundredth it makes no difference: 1.2 to 1.0 s. (At 100 MB/s: 10.2, 7.5, 5.4,
2.7, 1.4.)
"""

_MOST_BYTES = 8 << 20
_GZIP = 31


@dataclass(frozen=True)
class ArchiveRecords:
    """Places of wanted records in an archive: offsets and lengths in bytes, ascending."""

    pin: Pin
    offsets: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @property
    def bytes(self) -> int:
        """Bytes of all of them."""
        return int(self.lengths.sum())


def documents_of(
    archives: Iterable[ArchiveRecords],
    wanted: Wanted,
    access: Access,
    in_flight: int,
    max_page_bytes: int,
    extractor: Extractor = "puna",
) -> Iterator[tuple[Pin, RawDocument | Rejected]]:
    """(archive, what becomes of a record) for every place, in order.

    A record too large is not fetched. Records of an archive that is not there are rejected as
    `GONE`; bytes that are not one whole record, as `INDEX`.
    """
    places = [
        (archive.pin, offset, offset + length)
        for archive in archives
        for offset, length in zip(archive.offsets.tolist(), archive.lengths.tolist(), strict=True)
    ]
    most = max_page_bytes + HEADERS_BYTES
    ranges = (Range(pin, start, stop) for pin, start, stop in places if stop - start <= most)
    data = _fetched(ranges, access, in_flight)
    for pin, start, stop in places:
        if stop - start > most:
            yield pin, Rejected("dropped", "record_too_large", lost_bytes=stop - start)
        elif (found := next(data)) is None:
            yield pin, Rejected("failed", GONE)
        else:
            crawl = crawl_of_archive(pin.name)
            yield pin, _outcome(found, start, wanted, max_page_bytes, extractor, crawl)


def _outcome(
    data: bytes,
    offset: int,
    wanted: Wanted,
    max_page_bytes: int,
    extractor: Extractor,
    crawl: str | None,
) -> RawDocument | Rejected:
    most = max_page_bytes + 2 * HEADERS_BYTES
    unpack = zlib.decompressobj(_GZIP)
    try:
        plain = unpack.decompress(data, most)
    except zlib.error:
        return Rejected("failed", INDEX, lost_bytes=len(data))
    if unpack.unconsumed_tail:
        return Rejected("dropped", "record_too_large", lost_bytes=len(data))
    found = list(records(iter([Chunk(plain, offset, 0)]), max_page_bytes + HEADERS_BYTES))
    whole = unpack.eof and not unpack.unused_data and len(found) == 1
    if not whole or (isinstance(found[0], Record) and found[0].inner):
        return Rejected("failed", INDEX, lost_bytes=len(data))
    return outcome_of(
        found[0],
        wanted,
        wet=False,
        max_page_bytes=max_page_bytes,
        extractor=extractor,
        crawl=crawl,
    )


def _fetched(wanted: Iterable[Range], access: Access, in_flight: int) -> Iterator[bytes | None]:
    """The bytes of each range, in order, neighbours by one request; None where the archive is not
    there.
    """
    gone: set[str] = set()
    pool = concurrent.futures.ThreadPoolExecutor(in_flight)
    flying: deque[tuple[Any, concurrent.futures.Future[bytes | None]]] = deque()

    def read(pin: Pin, start: int, stop: int) -> bytes | None:
        if pin.path in gone:
            return None
        try:
            return read_range(pin, start, stop, access)
        except NoSuchObject:
            gone.add(pin.path)
            return None

    def landed() -> Iterator[bytes | None]:
        joined, future = flying.popleft()
        data = future.result()
        for member in joined.members:
            start = member.start - joined.start
            yield None if data is None else data[start : start + member.stop - member.start]

    try:
        for joined in join(wanted, GAP_BYTES, _MOST_BYTES):
            pin = joined.members[0].pin
            flying.append((joined, pool.submit(read, pin, joined.start, joined.stop)))
            if len(flying) >= 2 * in_flight:
                yield from landed()
        while flying:
            yield from landed()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
