"""Reads lines of plain or compressed files, and JSONL documents; oversized lines are never held."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tasks.ingest.decompress import Chunk, Gap, chunks
from tasks.ingest.fields import FieldReader, FieldTally
from tasks.ingest.raw_documents import SAMPLED_OUT, RawDocument, Rejected, Wanted, iso_date
from tasks.ingest.stage import JsonlFields

_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line without its end; `offset` and `inner` as in `records.Record`."""

    offset: int
    inner: int
    data: bytes


class ByteRange(NamedTuple):
    """The lines of a plain file that start at offsets in [start, stop), as read by one worker."""

    start: int
    stop: int


def lines(
    path: Path, max_bytes: int, byte_range: ByteRange | None = None, end: bytes = b"\n"
) -> Iterator[Line | Rejected]:
    """The lines of a file, or of a byte range of it, in order. A broken gzip member costs the line it
    cuts.

    `end` is a line feed in the file's encoding; where it has several bytes, lines end at multiples
    of them only.
    """
    data = bytearray()
    start: tuple[int, int] | None = None
    too_long = 0
    within = byte_range or ByteRange(0, sys.maxsize)
    first = within.start
    read = chunks(path, plain_from=max(first - 1, 0) if byte_range else None)
    for chunk in _aligned(read, len(end)):
        if isinstance(chunk, Gap):
            yield Rejected("failed", chunk.reason, lost_bytes=chunk.lost_bytes)
            data.clear()
            start, too_long = None, 0
            continue
        at = 0
        if first:  # the line that holds the byte before the range is another's
            at = chunk.data.find(b"\n") + 1
            if not at and chunk.inner < within.stop:
                continue
            first = 0
        while at < len(chunk.data):
            if start is None and chunk.inner + at >= within.stop:
                return
            found = _find(chunk.data, end, at)
            stop = len(chunk.data) if found < 0 else found
            if start is None:
                start = (chunk.member, chunk.inner + at)
            if too_long or len(data) + stop - at > max_bytes:
                too_long += len(data) + stop - at
                data.clear()
            else:
                data += chunk.data[at:stop]
            at = stop + len(end)
            if found >= 0:
                yield _line(start, data, too_long, end)
                data.clear()
                start, too_long = None, 0
    if start is not None:
        yield _line(start, data, too_long, end)


def contains(path: Path, end: bytes) -> bool:
    """Whether such a line end stands in a file, at a multiple of its length."""
    found = _aligned(chunks(path), len(end))
    return any(_find(chunk.data, end, 0) >= 0 for chunk in found if isinstance(chunk, Chunk))


def _aligned(found: Iterator[Chunk | Gap], width: int) -> Iterator[Chunk | Gap]:
    """The same bytes in chunks of whole characters of `width` bytes, but before a gap and at the
    end.
    """
    if width == 1:
        yield from found
        return
    rest: Chunk | None = None
    for chunk in found:
        if isinstance(chunk, Gap):
            if rest:
                yield rest
            rest = None
            yield chunk
            continue
        whole = Chunk(rest.data + chunk.data, rest.member, rest.inner) if rest else chunk
        size = len(whole.data) // width * width
        rest = (
            Chunk(whole.data[size:], whole.member, whole.inner + size)
            if size < len(whole.data)
            else None
        )
        if size:
            yield Chunk(whole.data[:size], whole.member, whole.inner)
    if rest:
        yield rest


def _find(data: bytes, end: bytes, at: int) -> int:
    while (found := data.find(end, at)) >= 0 and found % len(end):
        at = found + 1
    return found


def _line(start: tuple[int, int], data: bytearray, too_long: int, end: bytes) -> Line | Rejected:
    if too_long:
        return Rejected("dropped", "page_too_large", too_long)
    return Line(*start, bytes(data.removesuffix(end.replace(b"\n", b"\r"))))


def jsonl_documents(
    path: Path,
    wanted: Wanted,
    *,
    fields: JsonlFields | None,
    max_page_bytes: int,
    byte_range: ByteRange | None = None,
    tally: FieldTally | None = None,
) -> Iterator[RawDocument | Rejected]:
    """One document a line that is not blank; see `IngestParameters.fields` for what it is made of.

    `tally` is told which fields the records have. Lines that do not begin like an object count as
    one failure as long as they follow on one another: a stretch of garbage is no thousand
    documents.
    """
    reader = FieldReader(fields, FieldTally() if tally is None else tally)
    garbage: Line | None = None
    size = 0
    for line in lines(path, max_page_bytes, byte_range):
        start = _first_byte(line.data) if isinstance(line, Line) else b"{"
        if not start:
            continue
        if (
            isinstance(line, Line) and start != b"{"
        ):  # lines that begin no object are one failure with their like
            garbage, size = garbage or line, size + len(line.data)
            continue
        if garbage:
            yield _garbage(garbage, size, wanted)
            garbage, size = None, 0
        if isinstance(line, Rejected):
            yield line
        else:
            yield _from_json(line, reader) if wanted(line.offset, line.inner) else SAMPLED_OUT
    if garbage:
        yield _garbage(garbage, size, wanted)


def _first_byte(data: bytes) -> bytes:
    return data[:1] if data[:1] == b"{" else data.removeprefix(_MARK).lstrip()[:1]


def _garbage(first: Line, size: int, wanted: Wanted) -> Rejected:
    return Rejected("failed", "json", size) if wanted(first.offset, first.inner) else SAMPLED_OUT


def _from_json(line: Line, reader: FieldReader) -> RawDocument | Rejected:
    try:
        row = json.loads(line.data.removeprefix(_MARK))
    except (ValueError, RecursionError):
        return Rejected("failed", "json", len(line.data))
    if not isinstance(row, dict):
        return Rejected("failed", "json", len(line.data))
    taken = reader.read(row)
    if taken is None:
        return Rejected("failed", "field", len(line.data))
    return RawDocument(
        line.offset,
        line.inner,
        taken.text,
        taken.prompt,
        taken.url,
        iso_date(taken.date),
        len(line.data),
    )
