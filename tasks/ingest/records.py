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

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tasks.ingest.decompress import Chunk, Content, Gap

MAX_HEADER_BYTES = 1 << 16
_START = re.compile(rb"WARC/\d+\.\d+[ \t]*\r?\n[ \t]*(?:WARC-|Content-)", re.IGNORECASE)
RECORDS = Content(_START)
"""The content of a web archive, for `chunks`."""

_LETTERS = b"warc/"
_BLOCK_BYTES = 1 << 14
_HEADER_END = re.compile(rb"\r?\n[ \t]*\r?\n")
_SHOWN_BYTES = 600
_MAY_END = re.compile(rb"\n[ \t\n]")
_FOLDED = re.compile("\n[ \t]")
_BLANKS = b"\r\n \t\0"
_BLANK = re.compile(rb"[\r\n \t\0]*")
_KEPT_WHILE_SEARCHING_BYTES = 64
"""Bytes held back while searching, to find a record's start that spans two chunks."""


@dataclass(frozen=True, slots=True)
class Record:
    """A whole record; header names are in lower case.

    `head`: the header block as stored, from the version line to the blank line that ends it.
    `offset`: byte of the file at which its compressed member begins. `inner`: its place in the
    member's decompressed bytes. In an uncompressed file, `offset` is 0 and `inner` the place in the
    file.
    """

    offset: int
    inner: int
    head: bytes
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that could not be read, or that exceeds the limit (`too_large`).

    `place`: its (offset, inner), as of a `Record`, where known; `head`: its first bytes, to show.
    `lost_bytes` counts bytes of the file if `reason` is a compression, otherwise decompressed ones.
    """

    reason: str
    lost_bytes: int
    too_large: bool = False
    place: tuple[int, int] | None = None
    head: bytes = b""


def records(chunks: Iterator[Chunk | Gap], max_body_bytes: int) -> Iterator[Record | Broken]:
    """The records of one archive in order; memory stays at about `max_body_bytes`.

    Reasons of broken records: those in the module's docstring, and the compression ("gzip", "lz4",
    ...) for a `Gap`.
    """
    window = _ArchiveWindow(chunks)
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


def _starts(data: bytearray) -> Iterator[int]:
    """Where records may start. To look for the first letters, in small blocks, is ten times as fast
    as to search for the pattern.
    """
    for begin in range(0, len(data), _BLOCK_BYTES):
        block = data[begin : begin + _BLOCK_BYTES + len(_LETTERS) - 1].lower()
        at = block.find(_LETTERS)
        while at >= 0:
            if _START.match(data, begin + at):
                yield begin + at
            at = block.find(_LETTERS, at + 1)


def _begins_member(chunk: Chunk) -> bool:
    """Whether a member begins with a chunk, and not with blanks."""
    return chunk.inner == 0 and chunk.data[:1] not in _BLANKS


def _blank_end(data: bytes | bytearray, at: int = 0) -> int:
    """Where blanks that begin at `at` end."""
    blank = _BLANK.match(data, at)
    return blank.end() if blank else at


def _header_end(data: bytes | bytearray) -> int | None:
    """Length of the headers including the blank line; None if that is not among the first 64 KiB,
    or if another record starts within them.
    """
    end = data.find(b"\n\r\n", 0, MAX_HEADER_BYTES) + 3
    # Most headers end in this way; to look for all other ways takes ten times as long.
    if end < 3 or _MAY_END.search(data, 0, end):
        blank_line = _HEADER_END.search(data, 0, MAX_HEADER_BYTES)
        if blank_line is None:
            return None
        end = blank_line.end()
    if _LETTERS in data[1:end].lower() and _START.search(data, 1, end):
        return None
    return end


def _record(window: _ArchiveWindow, max_body_bytes: int) -> Record | Broken:
    """Read the record at the window's start (steps 2 to 5)."""
    if not window.starts_record():
        return _skip(window, "not_warc", 1)
    end = window.find_header_end()
    head = bytes(window.data[: end or 0])
    headers = parse_headers(head)
    length = _length(headers)
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
    record = Record(offset, inner, head, headers, body)
    window.drop(end + length)
    return record


def _skip(window: _ArchiveWindow, reason: str, at_least: int, too_large: bool = False) -> Broken:
    """Skip everything up to the next record's start, in bounded memory.

    If a gap (damaged member) comes first, return that instead.
    """
    place, head = window.place(), bytes(window.data[:_SHOWN_BYTES])
    window.drop(at_least)
    lost = at_least
    while (start := window.find_start()) is None:
        passed = max(len(window.data) - _KEPT_WHILE_SEARCHING_BYTES, 0)
        window.drop(passed)
        lost += passed
        if not window.fill():
            lost += len(window.data)
            window.drop(len(window.data))
            return window.pass_gap() or Broken(reason, lost, too_large, place, head)
    window.drop(start)
    return Broken(reason, lost + start, too_large, place, head)


def _length(headers: dict[str, str]) -> int | None:
    value = headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None


def parse_headers(block: bytes, lists: Collection[str] = ()) -> dict[str, str]:
    """Header lines (after a first line) as lower-case name -> value.

    A repeated name keeps its first value, or for names in `lists` all values, joined by commas.
    Continuation lines are joined; lines without a colon are ignored. Decoded as UTF-8 if valid,
    else as Latin-1 (as in RFC 2616).
    """
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError:
        text = block.decode("latin-1")
    lines = text.split("\n")[1:]
    if _FOLDED.search(text) is None:
        pairs = [line.partition(":") for line in lines if ":" in line]
        simple = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if len(simple) == len(pairs) and "" not in simple:
            return simple
    headers: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        if line[:1] in " \t" and name and line.strip():
            headers[name].append(" " + line.strip())
            continue
        before, colon, value = line.partition(":")
        name = before.strip().lower() if colon else ""
        if name in headers and name in lists:
            headers[name].append(", " + value.strip())
        elif name in headers:
            name = ""
        elif name:
            headers[name] = [value.strip()]
    return {name: "".join(parts) for name, parts in headers.items()}


class _ArchiveWindow:
    """The unread bytes of an archive, filled on demand; knows which member each byte came from.

    `data`: bytes read but not dropped. `gap`: the damaged part right after them, if any; nothing is
    read beyond it until `pass_gap`.
    """

    def __init__(self, chunks: Iterator[Chunk | Gap]) -> None:
        self.data = bytearray()
        self.gap: Gap | None = None
        self._chunks = chunks
        self._ended = False
        self._passed = 0  # bytes dropped so far
        self._ahead: deque[Chunk | Gap] = deque()  # read, but not yet part of `data`
        # (bytes of the archive before the chunk, member, inner) of each chunk still held
        self._marks: list[tuple[int, int, int]] = []

    def whole_member(self, max_body_bytes: int) -> Record | None:
        """The next record, if its header is in the next chunk, and it is all of that member's
        content from there on, and another member, or nothing, follows; else None.

        Most records of most archives are so. Read without `data`, their bytes are copied once.
        """
        if self.data:
            self.drop(_blank_end(self.data))
        if self.data or self.gap is not None:
            return None
        parts: list[Chunk] = []
        record, after = self._whole(parts, max_body_bytes)
        if after is not None:
            self._ahead.appendleft(after)
        if record is None:
            self._ahead.extendleft(reversed(parts))
        return record

    def _whole(
        self, parts: list[Chunk], max_body_bytes: int
    ) -> tuple[Record | None, Chunk | Gap | None]:
        """(the record, what comes after it). The chunks read for it are put in `parts`."""
        first = self._next()
        if not isinstance(first, Chunk):
            return None, first
        parts.append(first)
        data = first.data
        end = _header_end(data) if _START.match(data) else None
        headers = parse_headers(head := data[:end]) if end else {}
        length = _length(headers)
        if end is None or length is None or length > max_body_bytes:
            return None, None
        stop = end + length
        over = len(data) - stop
        after = self._next()
        while over < 0 and isinstance(after, Chunk) and after.inner:
            parts.append(after)
            over += len(after.data)
            after = self._next()
        last = parts[-1].data
        if over < 0 or (over and _blank_end(last, len(last) - over) < len(last)):
            return None, after
        if isinstance(after, Gap) and after.member <= first.member:
            return None, after
        if isinstance(after, Chunk) and not _begins_member(after):
            return None, after
        if len(parts) == 1:
            body = data[end:stop]
        else:
            between = [part.data for part in parts[1:-1]]
            body = b"".join([data[end:], *between, last[: len(last) - over]])
        return Record(first.member, first.inner, head, headers, body), after

    def _next(self) -> Chunk | Gap | None:
        return self._ahead.popleft() if self._ahead else next(self._chunks, None)

    def _is_before_member(self) -> bool:
        """Whether a member begins right after `data`."""
        if self.gap is not None or (after := self._next()) is None:
            return False
        self._ahead.appendleft(after)
        return isinstance(after, Chunk) and _begins_member(after)

    def _take(self, chunk: Chunk) -> None:
        self._marks.append((self._passed + len(self.data), chunk.member, chunk.inner))
        self.data += chunk.data

    def fill(self) -> bool:
        """Read one more chunk; False at the end of the file or at a gap."""
        if self._ended or self.gap is not None:
            return False
        chunk = self._next()
        if chunk is None:
            self._ended = True
            return False
        if isinstance(chunk, Gap):
            self.gap = chunk
            return False
        self._take(chunk)
        return True

    def reach(self, size: int) -> bool:
        """Hold at least `size` bytes; False if the file ends or another record starts before that.

        The start of a record is recognised only at the beginning of a member.
        """
        while len(self.data) < size:
            before = len(self.data)
            if not self.fill():
                return False
            if before and self._marks[-1][2] == 0 and _START.match(self.data, before):
                return False
        return True

    def drop(self, size: int) -> None:
        """Drop the first `size` bytes."""
        size = min(size, len(self.data))
        del self.data[:size]
        self._passed += size
        keep = max(bisect_right(self._marks, self._passed, key=lambda mark: mark[0]) - 1, 0)
        del self._marks[:keep]

    def pass_gap(self) -> Broken | None:
        """Continue after the gap, if there is one, and return it as a broken record."""
        gap, self.gap = self.gap, None
        return Broken(gap.reason, gap.lost_bytes) if gap else None

    def skip_blank(self) -> None:
        """Drop line ends, zeros and blanks before a record."""
        while True:
            blank = _blank_end(self.data)
            rest = len(self.data) - blank
            self.drop(blank)
            if rest or not self.fill():
                return

    def place(self, at: int = 0) -> tuple[int, int]:
        """(member, inner) of the byte at index `at` of `data`."""
        absolute = self._passed + at
        before, member, inner = self._marks[
            bisect_right(self._marks, absolute, key=lambda mark: mark[0]) - 1
        ]
        return member, inner + absolute - before

    def starts_record(self) -> bool:
        """Whether a WARC version line and a WARC header come first (ClueWeb uses version 0.18)."""
        self.reach(_KEPT_WHILE_SEARCHING_BYTES)
        return _START.match(self.data) is not None

    def find_header_end(self) -> int | None:
        """Length of the headers including the blank line; None if over 64 KiB or if another record
        starts within them.
        """
        while (
            self.data.find(b"\n\r\n", 0, MAX_HEADER_BYTES) < 0
            and _HEADER_END.search(self.data, 0, MAX_HEADER_BYTES) is None
        ):
            if len(self.data) >= MAX_HEADER_BYTES or not self.fill():
                return None
        return _header_end(self.data)

    def find_start(self) -> int | None:
        """Index of the next record's start (at the beginning of a line or member); None if none."""
        for at in _starts(self.data):
            if at == 0 or self.data[at - 1] == 0x0A or self.place(at)[1] == 0:
                return at
        return None

    def record_follows(self, at: int) -> bool:
        """Whether a record may end at `at`.

        After blanks, there must be the start of a record or member, the end of the file, or a gap
        in a later member. (A gap in the record's own member may have cost its last bytes.)
        """
        last_member = self.place(max(at - 1, 0))[0]
        while True:
            rest = self.data[at : at + _KEPT_WHILE_SEARCHING_BYTES]
            blank = len(rest) - len(rest.lstrip(b"\r\n \t\0"))
            at += blank
            if len(rest) - blank >= _KEPT_WHILE_SEARCHING_BYTES // 2:
                break
            if at == len(self.data) and self._is_before_member():
                return True
            if blank < _KEPT_WHILE_SEARCHING_BYTES and not self.fill():
                break
        if at < len(self.data):
            return _START.match(self.data, at) is not None or self.place(at)[1] == 0
        return self.gap is None or self.gap.member > last_member
