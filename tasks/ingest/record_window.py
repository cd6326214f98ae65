"""The unread bytes of a web archive, of which records are cut."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator

from tasks.ingest.decompress import Chunk, Gap
from tasks.ingest.record import (
    HEADER_END,
    LETTERS,
    MAX_HEADER_BYTES,
    START,
    Broken,
    Record,
    framed,
    header_end,
)

_BLOCK_BYTES = 1 << 14
_BLANKS = b"\r\n \t\0"
_BLANK = re.compile(rb"[\r\n \t\0]*")
_RECORD_END = b"\r\n\r\n"
KEPT_WHILE_SEARCHING_BYTES = 64
"""Bytes held back while searching, to find a record's start that spans two chunks."""


def _starts(data: bytearray) -> Iterator[int]:
    """Where records may start. To look for the first letters, in small blocks, is ten times as fast
    as to search for the pattern.
    """
    for begin in range(0, len(data), _BLOCK_BYTES):
        block = data[begin : begin + _BLOCK_BYTES + len(LETTERS) - 1].lower()
        at = block.find(LETTERS)
        while at >= 0:
            if START.match(data, begin + at):
                yield begin + at
            at = block.find(LETTERS, at + 1)


def _begins_member(chunk: Chunk) -> bool:
    """Whether a member begins with a chunk, and not with blanks."""
    return chunk.inner == 0 and chunk.data[:1] not in _BLANKS


def _blank_end(data: bytes | bytearray, at: int = 0) -> int:
    """Where blanks that begin at `at` end."""
    blank = _BLANK.match(data, at)
    return blank.end() if blank else at


def _is_blank(data: bytes, size: int) -> bool:
    """Whether the last `size` bytes are blanks."""
    if size == len(_RECORD_END) and data.endswith(_RECORD_END):
        return True
    return _blank_end(data, len(data) - size) == len(data)


def _may_follow(first: Chunk, after: Chunk | Gap | None) -> bool:
    """Whether a member of which all content is read ends here: the next one begins, or a later one
    is damaged, or the file ends.
    """
    if isinstance(after, Chunk):
        return _begins_member(after)
    return after is None or after.member > first.member


class ArchiveWindow:
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
        first = self._next()
        if not isinstance(first, Chunk):
            self._put_back(first)
            return None
        end, length = framed(first.data) or (0, None)
        if length is None or length > max_body_bytes:
            self._put_back(first)
            return None
        stop = end + length
        over = len(first.data) - stop
        after = self._next()
        parts = [first]
        while over < 0 and isinstance(after, Chunk) and after.inner:
            parts.append(after)
            over += len(after.data)
            after = self._next()
        if over < 0 or not _is_blank(parts[-1].data, over) or not _may_follow(first, after):
            self._put_back(*parts, after)
            return None
        if after is not None:
            self._ahead.appendleft(after)
        data = first.data
        if len(parts) == 1:
            body = data[end:stop]
        else:
            last = parts.pop().data
            between = [part.data for part in parts[1:]]
            body = b"".join([data[end:], *between, last[: len(last) - over]])
        return Record(first.member, first.inner, data[:end], body)

    def _put_back(self, *read: Chunk | Gap | None) -> None:
        """Read these again next, in this order."""
        self._ahead.extendleft(one for one in reversed(read) if one is not None)

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
            if before and self._marks[-1][2] == 0 and START.match(self.data, before):
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
        self.reach(KEPT_WHILE_SEARCHING_BYTES)
        return START.match(self.data) is not None

    def find_header_end(self) -> int | None:
        """Length of the headers including the blank line; None if over 64 KiB or if another record
        starts within them.
        """
        while (
            self.data.find(b"\n\r\n", 0, MAX_HEADER_BYTES) < 0
            and HEADER_END.search(self.data, 0, MAX_HEADER_BYTES) is None
        ):
            if len(self.data) >= MAX_HEADER_BYTES or not self.fill():
                return None
        return header_end(self.data)

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
            rest = self.data[at : at + KEPT_WHILE_SEARCHING_BYTES]
            blank = len(rest) - len(rest.lstrip(b"\r\n \t\0"))
            at += blank
            if len(rest) - blank >= KEPT_WHILE_SEARCHING_BYTES // 2:
                break
            if at == len(self.data) and self._is_before_member():
                return True
            if blank < KEPT_WHILE_SEARCHING_BYTES and not self.fill():
                break
        if at < len(self.data):
            return START.match(self.data, at) is not None or self.place(at)[1] == 0
        return self.gap is None or self.gap.member > last_member
