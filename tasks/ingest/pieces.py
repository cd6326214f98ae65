"""Decompressed bytes of a file in pieces of bounded size, going on after a broken gzip member or LZ4 frame.

Compressed archives are concatenations of members, for web archives usually one a record. A member that does not
decompress (bad header, bad deflate data, bad checksum, cut short) yields what came out of it and then a `Gap`; reading
goes on at the next place in the file where a member starts and decompresses.
"""

from __future__ import annotations

import io
import mmap
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fastwarc.stream_io import Lz4Reader

PIECE_BYTES = 1 << 20
_INPUT_BYTES = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b\x08"
_GZIP_RESERVED_FLAGS = 0xE0
_GZIP_WINDOW_BITS = 31
_LZ4_MAGIC = b"\x04\x22\x4d\x18"
_LZ4_UNCOMPRESSED_BIT = 0x80000000


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes found `inner` bytes into what the member at file offset `member` decompresses to (0 in plain files)."""

    data: bytes
    member: int
    inner: int


@dataclass(frozen=True, slots=True)
class Gap:
    """`lost_bytes` of the file from offset `member` on could not be read; `reason` is "gzip" or "lz4"."""

    reason: str
    member: int
    lost_bytes: int


Member = Generator[Piece, None, int | None]
"""Yields the pieces of one member and returns the offset of its end, or None when it is broken."""


def pieces(path: Path, start: int = 0) -> Iterator[Piece | Gap]:
    """All bytes of a plain, gzip or LZ4 file, in order, those of a plain one from offset `start` on."""
    if not path.stat().st_size:
        return
    kind = compression(path)
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        if kind == "gzip":
            yield from _members(view, "gzip", _GZIP_MAGIC, _gzip_member)
        elif kind == "lz4":
            yield from _members(view, "lz4", _LZ4_MAGIC, _lz4_frame)
        else:
            for at in range(start, len(view), PIECE_BYTES):
                yield Piece(view[at : at + PIECE_BYTES], 0, at)


def compression(path: Path) -> Literal["gzip", "lz4"] | None:
    """How a file is compressed, by its content or by the ending .gz or .lz4; None for a plain one."""
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic[:2] == _GZIP_MAGIC[:2] or path.name.endswith(".gz"):
        return "gzip"
    return "lz4" if magic == _LZ4_MAGIC or path.name.endswith(".lz4") else None


def _members(
    view: mmap.mmap, kind: str, magic: bytes, read: Callable[[mmap.mmap, int], Member]
) -> Iterator[Piece | Gap]:
    at = 0
    while at < len(view):
        end = (yield from read(view, at)) if view[at : at + len(magic)] == magic else None
        if end is None:
            end = _next_start(view, at + 1, magic, read)
            if view[at:end].strip(b"\0"):  # zeros after the last member are padding, not a loss
                yield Gap(kind, at, end - at)
        at = end


def _next_start(view: mmap.mmap, at: int, magic: bytes, read: Callable[[mmap.mmap, int], Member]) -> int:
    """The next offset from `at` on where a member starts and gives at least one byte; the end of the file if none."""
    while (at := view.find(magic, at)) >= 0:
        if next(read(view, at), None) is not None:
            return at
        at += 1
    return len(view)


def _gzip_member(view: mmap.mmap, start: int) -> Member:
    if start + 3 >= len(view) or view[start + 3] & _GZIP_RESERVED_FLAGS:
        return None
    inflate = zlib.decompressobj(_GZIP_WINDOW_BITS)
    at, inner = start, 0
    while not inflate.eof:
        given = inflate.unconsumed_tail
        if not given:
            given = view[at : at + _INPUT_BYTES]
            at += len(given)
        try:
            data = inflate.decompress(given, PIECE_BYTES)
        except zlib.error:
            return None
        if not data and not given:
            return None
        if data:
            yield Piece(data, start, inner)
            inner += len(data)
    return at - len(inflate.unused_data)


def _lz4_frame(view: mmap.mmap, start: int) -> Member:
    end = _lz4_frame_end(view, start)
    if end is None:
        return None
    inner = 0
    try:
        with Lz4Reader(_Window(view, start, end)) as stream:
            while data := stream.read(PIECE_BYTES):
                yield Piece(data, start, inner)
                inner += len(data)
    except OSError:
        return None
    return end


class _Window(io.RawIOBase):
    """The bytes [start, end) of a mapped file as a stream."""

    def __init__(self, view: mmap.mmap, start: int, end: int) -> None:
        self._view, self._start, self._at, self._end = view, start, start, end

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at - self._start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: self._start, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        self._at = min(max(base + offset, self._start), self._end)
        return self.tell()

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self._end - self._at)
        buffer[:size] = self._view[self._at : self._at + size]
        self._at += size
        return size


def _lz4_frame_end(view: mmap.mmap, start: int) -> int | None:
    """Walk a frame's blocks (LZ4 frame format 1.6) to its end; None when the file ends first."""
    flags = view[start + 4] if start + 4 < len(view) else 0
    content_size, dictionary_id = bool(flags & 8), bool(flags & 1)
    at = start + 7 + 8 * content_size + 4 * dictionary_id
    while at + 4 <= len(view):
        size = int.from_bytes(view[at : at + 4], "little") & ~_LZ4_UNCOMPRESSED_BIT
        at += 4
        if size == 0:
            end = at + 4 * bool(flags & 4)
            return end if end <= len(view) else None
        at += size + 4 * bool(flags & 16)
    return None
