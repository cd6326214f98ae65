"""Splits the bytes of a web archive into records, and recovers after every damaged one.

The format is WARC 1.1 (ISO 28500:2017). At the start of each record:

1. Skip line ends, blanks and zero bytes.
2. A line `WARC/x.y` and a WARC header must start here; otherwise the bytes belong to no record:
   `not_warc`.
3. Find the blank line that ends the headers, within 64 KiB, and parse Content-Length. If either is
   missing: `header`.
4. Read that many bytes of content. If they exceed the limit: `record_too_large`. If the file or the
   record's members end first: `truncated`.
5. Another record, a new compressed member, or the end must follow; otherwise the length is wrong:
   `length`. If all is well, yield a `Record` and continue after it.

After a failure, everything up to the next line `WARC/x.y` followed by a WARC header is skipped and
counted as one `Broken` record. Every length is checked before it is trusted, so a wrong one costs
one record and not the rest of the file. fastwarc's and warcio's iterators stop or skip silently in
such cases.

Example: A says Content-Length 90 but has 100 bytes, and B follows. No record starts after the 90th
byte, so A is counted as `length`. The search from A's second byte on finds B's `WARC/1.0` line, and
B is read as usual.
"""

from __future__ import annotations

from collections.abc import Iterator

from tasks.ingest.decompress import Chunk, Content, Gap
from tasks.ingest.record import START, Broken, Record, content_length
from tasks.ingest.record_window import KEPT_WHILE_SEARCHING_BYTES, ArchiveWindow

RECORDS = Content(START)
"""The content of a web archive, for `chunks`."""

_SHOWN_BYTES = 600


def records(chunks: Iterator[Chunk | Gap], max_body_bytes: int) -> Iterator[Record | Broken]:
    """The records of one archive in order; memory stays at about `max_body_bytes`.

    Reasons of broken records: those in the module's docstring, and the compression ("gzip", "lz4",
    ...) for a `Gap`.
    """
    window = ArchiveWindow(chunks)
    while True:
        if record := window.whole_member(max_body_bytes):
            yield record
            continue
        window.skip_blank()
        if window.data:
            yield _record(window, max_body_bytes)
        elif broken := window.pass_gap():
            yield broken
        else:
            return


def _record(window: ArchiveWindow, max_body_bytes: int) -> Record | Broken:
    """Read the record at the window's start (steps 2 to 5)."""
    if not window.starts_record():
        return _skip(window, "not_warc", 1)
    end = window.find_header_end()
    head = bytes(window.data[: end or 0])
    length = content_length(head)
    if end is None or length is None:
        return _skip(window, "header", 1)
    if length > max_body_bytes:
        return _skip(window, "record_too_large", end, too_large=True)
    if not window.reach(end + length):
        return _skip(window, "truncated", 1)
    if not window.record_follows(end + length):
        return _skip(window, "length", 1)
    offset, inner = window.place()
    with memoryview(window.data) as view:
        body = bytes(view[end : end + length])
    record = Record(offset, inner, head, body)
    window.drop(end + length)
    return record


def _skip(window: ArchiveWindow, reason: str, at_least: int, too_large: bool = False) -> Broken:
    """Skip everything up to the next record's start, in bounded memory.

    If a gap (damaged member) comes first, return that instead.
    """
    place, head = window.place(), bytes(window.data[:_SHOWN_BYTES])
    window.drop(at_least)
    lost = at_least
    while (start := window.find_start()) is None:
        passed = max(len(window.data) - KEPT_WHILE_SEARCHING_BYTES, 0)
        window.drop(passed)
        lost += passed
        if not window.fill():
            lost += len(window.data)
            window.drop(len(window.data))
            return window.pass_gap() or Broken(reason, lost, too_large, place, head)
    window.drop(start)
    return Broken(reason, lost + start, too_large, place, head)
