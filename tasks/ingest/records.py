"""Records of a web archive from its bytes, each on its own: framing that no bad length, header or
member derails.

A record is believed when its header block parses, its Content-Length bytes are there, and another
record (or the end) follows them. Otherwise it is a `Broken` record, and reading goes on at the next
line `WARC/1.x` that a WARC header follows. fastwarc's and warcio's iterators end or skip silently
at such places, hence this one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tasks.ingest.pieces import Content, Gap, Piece

MAX_HEADER_BYTES = 1 << 16
_START = re.compile(rb"WARC/\d+\.\d+[ \t]*\r?\n[ \t]*(?:WARC-|Content-)", re.IGNORECASE)
RECORDS = Content(_START)
"""What a web archive is made of, for `pieces`."""

_HEADER_END = re.compile(rb"\r?\n[ \t]*\r?\n")
_KEPT_WHILE_SEARCHING_BYTES = 64
"""Bytes held back while searching for a start, so that one across two pieces is found."""


@dataclass(frozen=True, slots=True)
class Record:
    """A whole record; header names are in lower case.

    `offset` is that of its gzip member or LZ4 frame in the file, `inner` its place in what the
    member decompresses to; in a file that is not compressed `offset` is 0 and `inner` the place in
    the file.
    """

    offset: int
    inner: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that could not be read, or (`too_large`) is over the limit.

    `lost_bytes` are bytes of the file for the reasons gzip and lz4, of its decompressed content for
    all others.
    """

    reason: str
    lost_bytes: int
    too_large: bool = False


def records(pieces: Iterator[Piece | Gap], max_body_bytes: int) -> Iterator[Record | Broken]:
    """The records of one archive in order; memory stays at about `max_body_bytes`.

    Reasons: "gzip", "lz4" (see `pieces`), "not_warc" (bytes that belong to no record), "header" (no
    end within 64 KiB, or no usable Content-Length), "length" (something else than a record
    follows), "truncated" (ends before its length), "record_too_large".
    """
    window = _Window(pieces)
    while True:
        window.skip_blank()
        if window.data:
            yield _record(window, max_body_bytes)
        elif broken := window.pass_gap():
            yield broken
        else:
            return


def _record(window: _Window, max_body_bytes: int) -> Record | Broken:
    """Read what stands at the window's start: one record, or what is left of one."""
    if not window.starts_record():
        return _skip(window, "not_warc", 1)
    end = window.find_header_end()
    headers = parse_headers(bytes(window.data[: end or 0]))
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
    record = Record(offset, inner, headers, bytes(window.data[end : end + length]))
    window.drop(end + length)
    return record


def _skip(window: _Window, reason: str, at_least: int, too_large: bool = False) -> Broken:
    """Pass over everything up to the next start of a record, in bounded memory; a gap on the way
    becomes the reason.
    """
    window.drop(at_least)
    lost = at_least
    while (start := window.find_start()) is None:
        passed = max(len(window.data) - _KEPT_WHILE_SEARCHING_BYTES, 0)
        window.drop(passed)
        lost += passed
        if not window.fill():
            lost += len(window.data)
            window.drop(len(window.data))
            return window.pass_gap() or Broken(reason, lost, too_large)
    window.drop(start)
    return Broken(reason, lost + start, too_large)


def _length(headers: dict[str, str]) -> int | None:
    value = headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None


def parse_headers(block: bytes, lists: Collection[str] = ()) -> dict[str, str]:
    """Header lines (after a first line) as lower-case name -> value.

    The first of equal names stands, or, for `lists`, all of them with commas between; continuation
    lines are joined, lines without a colon are passed over. UTF-8, else Latin-1 (as RFC 2616 had
    it).
    """
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError:
        text = block.decode("latin-1")
    headers: dict[str, list[str]] = {}
    name = ""
    for line in text.split("\n")[1:]:
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


class _Window:
    """The unread bytes of an archive, filled on demand, which knows the member that every byte came
    from.
    """

    def __init__(self, pieces: Iterator[Piece | Gap]) -> None:
        self.data = bytearray()
        self.gap: Gap | None = None
        self._pieces = pieces
        self._ended = False
        self._passed = 0  # bytes dropped so far
        self._marks: list[
            tuple[int, int, int]
        ] = []  # (bytes before it, member, inner) of each piece still held

    def fill(self) -> bool:
        """Read one more piece; False at the end of the file and before a gap."""
        if self._ended or self.gap is not None:
            return False
        piece = next(self._pieces, None)
        if piece is None:
            self._ended = True
            return False
        if isinstance(piece, Gap):
            self.gap = piece
            return False
        self._marks.append((self._passed + len(self.data), piece.member, piece.inner))
        self.data += piece.data
        return True

    def reach(self, size: int) -> bool:
        """Hold at least `size` bytes; False where the file, or the members up to a new record's
        start, are shorter.
        """
        while len(self.data) < size:
            before = len(self.data)
            if not self.fill():
                return False
            if before and self._marks[-1][2] == 0 and _START.match(self.data, before):
                return False
        return True

    def drop(self, size: int) -> None:
        """Forget the first bytes."""
        size = min(size, len(self.data))
        del self.data[:size]
        self._passed += size
        keep = max(bisect_right(self._marks, self._passed, key=lambda mark: mark[0]) - 1, 0)
        del self._marks[:keep]

    def pass_gap(self) -> Broken | None:
        """Go on behind the gap, if there is one, and say what it cost."""
        gap, self.gap = self.gap, None
        return Broken(gap.reason, gap.lost_bytes) if gap else None

    def skip_blank(self) -> None:
        """Drop line ends, zeros and blanks before a record."""
        while True:
            blank = len(self.data) - len(self.data.lstrip(b"\r\n \t\0"))
            rest = len(self.data) - blank
            self.drop(blank)
            if rest or not self.fill():
                return

    def place(self, at: int = 0) -> tuple[int, int]:
        """(member, inner) of a byte held."""
        absolute = self._passed + at
        before, member, inner = self._marks[
            bisect_right(self._marks, absolute, key=lambda mark: mark[0]) - 1
        ]
        return member, inner + absolute - before

    def starts_record(self) -> bool:
        """Whether the window starts with a WARC version line and a WARC header (of any version:
        ClueWeb wrote 0.18).
        """
        self.reach(_KEPT_WHILE_SEARCHING_BYTES)
        return _START.match(self.data) is not None

    def find_header_end(self) -> int | None:
        """Length of the header block with its blank line; None when over 64 KiB, or ending only in
        another record.
        """
        while (found := _HEADER_END.search(self.data, 0, MAX_HEADER_BYTES)) is None:
            if len(self.data) >= MAX_HEADER_BYTES or not self.fill():
                return None
        return None if _START.search(self.data, 1, found.end()) else found.end()

    def find_start(self) -> int | None:
        """Where the next record starts: at a line's start or a member's, with a WARC header after
        it.
        """
        for found in _START.finditer(self.data):
            at = found.start()
            if at == 0 or self.data[at - 1] == 0x0A or self.place(at)[1] == 0:
                return at
        return None

    def record_follows(self, at: int) -> bool:
        """Whether after `at`, blanks aside, comes a record, a member's start, the end, or a gap in
        a later member.
        """
        last_member = self.place(max(at - 1, 0))[0]
        while True:
            rest = self.data[at : at + _KEPT_WHILE_SEARCHING_BYTES]
            blank = len(rest) - len(rest.lstrip(b"\r\n \t\0"))
            at += blank
            if len(rest) - blank >= _KEPT_WHILE_SEARCHING_BYTES // 2:
                break
            if blank < _KEPT_WHILE_SEARCHING_BYTES and not self.fill():
                break
        if at < len(self.data):
            return _START.match(self.data, at) is not None or self.place(at)[1] == 0
        return self.gap is None or self.gap.member > last_member
