"""JSONL and plain text, plain or compressed, to documents; a line over the limit is passed over, not held."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from tasks.ingest.fields import Take, Tally
from tasks.ingest.found import SAMPLED_OUT, Found, Rejected, Wanted, iso_date
from tasks.ingest.page import Unreadable, decode
from tasks.ingest.pieces import Gap, pieces
from tasks.ingest.stage import JsonlFields

_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line without its end; `offset` and `inner` as in `records.Record`."""

    offset: int
    inner: int
    data: bytes


class Stretch(NamedTuple):
    """The lines of a plain file that start at an offset from `start` to before `stop`: what one worker reads of it."""

    start: int
    stop: int


def lines(path: Path, max_bytes: int, stretch: Stretch | None = None) -> Iterator[Line | Rejected]:
    """The lines of a file, or of a stretch of it, in order. A broken gzip member costs the line it cuts."""
    data = bytearray()
    start: tuple[int, int] | None = None
    too_long = 0
    within = stretch or Stretch(0, sys.maxsize)
    first = within.start
    for piece in pieces(path, plain_from=max(first - 1, 0) if stretch else None):
        if isinstance(piece, Gap):
            yield Rejected("failed", piece.reason, lost_bytes=piece.lost_bytes)
            data.clear()
            start, too_long = None, 0
            continue
        at = 0
        if first:  # the line that holds the byte before the stretch is another's
            at = piece.data.find(b"\n") + 1
            if not at and piece.inner < within.stop:
                continue
            first = 0
        while at < len(piece.data):
            if start is None and piece.inner + at >= within.stop:
                return
            end = piece.data.find(b"\n", at)
            stop = len(piece.data) if end < 0 else end
            if start is None:
                start = (piece.member, piece.inner + at)
            if too_long or len(data) + stop - at > max_bytes:
                too_long += len(data) + stop - at
                data.clear()
            else:
                data += piece.data[at:stop]
            at = stop + 1
            if end >= 0:
                yield _line(start, data, too_long)
                data.clear()
                start, too_long = None, 0
    if start is not None:
        yield _line(start, data, too_long)


def _line(start: tuple[int, int], data: bytearray, too_long: int) -> Line | Rejected:
    if too_long:
        return Rejected("dropped", "page_too_large", too_long)
    return Line(*start, bytes(data.removesuffix(b"\r")))


def jsonl_documents(
    path: Path,
    wanted: Wanted,
    *,
    fields: JsonlFields | None,
    max_page_bytes: int,
    stretch: Stretch | None = None,
    tally: Tally | None = None,
) -> Iterator[Found | Rejected]:
    """One document a line that is not blank; see `IngestParameters.fields` for what it is made of.

    `tally` is told which fields the records have. Lines that do not begin like an object count as one failure as long
    as they follow on one another: a stretch of garbage is no thousand documents.
    """
    take = Take(fields, Tally() if tally is None else tally)
    garbage: Line | None = None
    size = 0
    for line in lines(path, max_page_bytes, stretch):
        start = _first_byte(line.data) if isinstance(line, Line) else b"{"
        if not start:
            continue
        if isinstance(line, Line) and start != b"{":  # lines that begin no object are one failure with their like
            garbage, size = garbage or line, size + len(line.data)
            continue
        if garbage:
            yield _garbage(garbage, size, wanted)
            garbage, size = None, 0
        if isinstance(line, Rejected):
            yield line
        else:
            yield _from_json(line, take) if wanted(line.offset, line.inner) else SAMPLED_OUT
    if garbage:
        yield _garbage(garbage, size, wanted)


def _first_byte(data: bytes) -> bytes:
    return data[:1] if data[:1] == b"{" else data.removeprefix(_MARK).lstrip()[:1]


def _garbage(first: Line, size: int, wanted: Wanted) -> Rejected:
    return Rejected("failed", "json", size) if wanted(first.offset, first.inner) else SAMPLED_OUT


def _from_json(line: Line, take: Take) -> Found | Rejected:
    try:
        row = json.loads(line.data.removeprefix(_MARK))
    except (ValueError, RecursionError):
        return Rejected("failed", "json", len(line.data))
    if not isinstance(row, dict):
        return Rejected("failed", "json", len(line.data))
    taken = take(row)
    if taken is None:
        return Rejected("failed", "field", len(line.data))
    return Found(line.offset, line.inner, taken.text, taken.prompt, taken.url, iso_date(taken.date), len(line.data))


def text_documents(
    path: Path, wanted: Wanted, *, split: Literal["file", "blank-line", "line"], max_page_bytes: int
) -> Iterator[Found | Rejected]:
    """A document a file, a paragraph (`blank-line`) or a line, in UTF-8 or a character set that can be told apart."""
    for chunk in _chunks(path, split, max_page_bytes):
        if isinstance(chunk, Rejected):
            yield chunk
        elif not chunk.data.strip():
            continue
        elif not wanted(chunk.offset, chunk.inner):
            yield SAMPLED_OUT
        else:
            try:
                yield Found(chunk.offset, chunk.inner, decode(chunk.data), payload_bytes=len(chunk.data))
            except Unreadable as error:
                yield Rejected("failed", str(error), len(chunk.data))


def _chunks(path: Path, split: Literal["file", "blank-line", "line"], max_bytes: int) -> Iterator[Line | Rejected]:
    if split == "line":
        yield from lines(path, max_bytes)
        return
    held: list[Line] = []
    size = 0
    for line in lines(path, max_bytes):
        if isinstance(line, Rejected) and split == "file":
            yield line
            return
        if isinstance(line, Rejected) or (split == "blank-line" and not line.data.strip()):
            if isinstance(line, Rejected):  # costs the paragraph it stands in
                yield line
            elif held:
                yield _joined(held, size, max_bytes)
            held, size = [], 0
            continue
        size += len(line.data) + 1
        if size <= max_bytes or not held:
            held.append(line)
    if held:
        yield _joined(held, size, max_bytes)


def _joined(held: list[Line], size: int, max_bytes: int) -> Line | Rejected:
    if size > max_bytes + 1:
        return Rejected("dropped", "page_too_large", size)
    return Line(held[0].offset, held[0].inner, b"\n".join(line.data for line in held))
