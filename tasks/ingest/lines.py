"""Reads lines of plain or compressed files, and JSONL documents; never holds oversized lines."""

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
    """Selects the lines of a plain file that start at offsets in [start, stop), for one worker."""

    start: int
    stop: int


def lines(
    path: Path, max_bytes: int, byte_range: ByteRange | None = None, end: bytes = b"\n"
) -> Iterator[Line | Rejected]:
    """The lines of a file, or of a byte range of it, in order.

    A damaged member costs the line that it interrupts. `end` is a line feed in the file's encoding;
    one of several bytes counts only at multiples of its length.
    """
    data = bytearray()
    start: tuple[int, int] | None = None
    too_long = 0
    within = byte_range or ByteRange(0, sys.maxsize)
    first = within.start
    file_chunks = chunks(path, plain_from=max(first - 1, 0) if byte_range else None)
    for chunk in _aligned(file_chunks, len(end)):
        if isinstance(chunk, Gap):
            yield Rejected("failed", chunk.reason, lost_bytes=chunk.lost_bytes)
            data.clear()
            start, too_long = None, 0
            continue
        at = 0
        if first:  # the line with the byte before the range is another worker's
            at = chunk.data.find(b"\n") + 1
            if not at and chunk.inner < within.stop:
                continue
            first = 0
        while at < len(chunk.data):
            if start is None and chunk.inner + at >= within.stop:
                return
            line_end = _find(chunk.data, end, at)
            stop = len(chunk.data) if line_end < 0 else line_end
            if start is None:
                start = (chunk.member, chunk.inner + at)
            if too_long or len(data) + stop - at > max_bytes:
                too_long += len(data) + stop - at
                data.clear()
            else:
                data += chunk.data[at:stop]
            at = stop + len(end)
            if line_end >= 0:
                yield _line(start, data, too_long, end)
                data.clear()
                start, too_long = None, 0
    if start is not None:
        yield _line(start, data, too_long, end)


def contains(path: Path, end: bytes) -> bool:
    """Whether a file has this line end, at a multiple of its length."""
    aligned = _aligned(chunks(path), len(end))
    return any(_find(chunk.data, end, 0) >= 0 for chunk in aligned if isinstance(chunk, Chunk))


def _aligned(chunks: Iterator[Chunk | Gap], width: int) -> Iterator[Chunk | Gap]:
    """The same bytes in chunks of whole characters of `width` bytes, except before a gap and at the
    end.
    """
    if width == 1:
        yield from chunks
        return
    rest: Chunk | None = None
    for chunk in chunks:
        if isinstance(chunk, Gap):
            if rest:
                yield rest
            rest = None
            yield chunk
            continue
        joined = Chunk(rest.data + chunk.data, rest.member, rest.inner) if rest else chunk
        size = len(joined.data) // width * width
        rest = (
            Chunk(joined.data[size:], joined.member, joined.inner + size)
            if size < len(joined.data)
            else None
        )
        if size:
            yield Chunk(joined.data[:size], joined.member, joined.inner)
    if rest:
        yield rest


def _find(data: bytes, end: bytes, at: int) -> int:
    while (index := data.find(end, at)) >= 0 and index % len(end):
        at = index + 1
    return index


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
    """One document per line that is not blank; `IngestParameters.fields` says from which fields.

    `tally` counts the fields that the records have. Consecutive lines that do not begin like an
    object count as one failure: a run of garbage is not a thousand documents.
    """
    reader = FieldReader(fields, FieldTally() if tally is None else tally)
    garbage: Line | None = None
    size = 0
    for line in lines(path, max_page_bytes, byte_range):
        start = _first_byte(line.data) if isinstance(line, Line) else b"{"
        if not start:
            continue
        if isinstance(line, Line) and start != b"{":
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
    values = reader.read(row)
    if values is None:
        return Rejected("failed", "field", len(line.data))
    return RawDocument(
        line.offset,
        line.inner,
        values.text,
        prompt=values.prompt,
        url=values.url,
        date=iso_date(values.date),
        payload_bytes=len(line.data),
    )
