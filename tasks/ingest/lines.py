"""The lines of a file, plain or compressed, and JSONL to documents; a line over the limit is passed over, not held."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tasks.ingest.found import SAMPLED_OUT, Found, Rejected, Wanted, iso_date
from tasks.ingest.pieces import Gap, Piece, pieces
from tasks.ingest.stage import JsonlFields

_COLOSSAL = JsonlFields(text=("target",), prompt="source")
_PLAIN = JsonlFields(text=("text",))


class Line(NamedTuple):
    """One line without its end; `offset` and `inner` as in `records.Record`."""

    offset: int
    inner: int
    data: bytes


class Stretch(NamedTuple):
    """The lines of a plain file that start at an offset from `start` to before `stop`: what one worker reads of it."""

    start: int
    stop: int


def lines(path: Path, max_bytes: int, stretch: Stretch | None = None, end: bytes = b"\n") -> Iterator[Line | Rejected]:
    """The lines of a file, or of a stretch of it, in order. A broken gzip member costs the line it cuts.

    `end` is a line feed in the file's encoding; where it has several bytes, lines end at multiples of them only.
    """
    data = bytearray()
    start: tuple[int, int] | None = None
    too_long = 0
    within = stretch or Stretch(0, sys.maxsize)
    first = within.start
    for piece in _aligned(pieces(path, max(first - 1, 0)), len(end)):
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
            found = _find(piece.data, end, at)
            stop = len(piece.data) if found < 0 else found
            if start is None:
                start = (piece.member, piece.inner + at)
            if too_long or len(data) + stop - at > max_bytes:
                too_long += len(data) + stop - at
                data.clear()
            else:
                data += piece.data[at:stop]
            at = stop + len(end)
            if found >= 0:
                yield _line(start, data, too_long, end)
                data.clear()
                start, too_long = None, 0
    if start is not None:
        yield _line(start, data, too_long, end)


def _aligned(found: Iterator[Piece | Gap], width: int) -> Iterator[Piece | Gap]:
    """The same bytes in pieces of whole characters of `width` bytes, but before a gap and at the end."""
    if width == 1:
        yield from found
        return
    rest: Piece | None = None
    for piece in found:
        if isinstance(piece, Gap):
            if rest:
                yield rest
            rest = None
            yield piece
            continue
        whole = Piece(rest.data + piece.data, rest.member, rest.inner) if rest else piece
        size = len(whole.data) // width * width
        rest = Piece(whole.data[size:], whole.member, whole.inner + size) if size < len(whole.data) else None
        if size:
            yield Piece(whole.data[:size], whole.member, whole.inner)
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
    stretch: Stretch | None = None,
) -> Iterator[Found | Rejected]:
    """One document a line that is not blank; see `IngestParameters.fields` for what it is made of."""
    for line in lines(path, max_page_bytes, stretch):
        if isinstance(line, Rejected):
            yield line
        elif not line.data.strip():
            continue
        elif not wanted(line.offset, line.inner):
            yield SAMPLED_OUT
        else:
            yield _from_json(line, fields)


def _from_json(line: Line, fields: JsonlFields | None) -> Found | Rejected:
    try:
        row = json.loads(line.data.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return Rejected("failed", "json", len(line.data))
    if not isinstance(row, dict):
        return Rejected("failed", "json", len(line.data))
    if fields is None:
        fields = _PLAIN if "text" in row else _COLOSSAL
    texts = [row[name] for name in fields.text if row.get(name) is not None]
    prompt = (row.get(fields.prompt) or "") if fields.prompt else ""
    if not texts or not all(isinstance(text, str) for text in (*texts, prompt)):
        return Rejected("failed", "field", len(line.data))
    text = "\n\n".join(text for text in texts if text)
    return Found(
        line.offset,
        line.inner,
        text,
        prompt,
        _string(row, fields.url),
        iso_date(_string(row, fields.date)),
        len(line.data),
    )


def _string(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""
