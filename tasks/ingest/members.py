"""Decodes compressed members of a file one at a time, in bounded memory.

A *member* is the unit that a format lets a file repeat: a gzip member, a bzip2 or xz stream, an LZ4
or Zstandard frame.
"""

from __future__ import annotations

import bz2
import io
import lzma
import mmap
import re
import zlib
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple

import zstandard
from fastwarc.stream_io import Lz4Reader
from isal import isal_zlib

from tasks.ingest.frames import (
    LZ4_MAGIC,
    MAX_ZSTD_WINDOW,
    ZSTD_MAGIC,
    lz4_frame_end,
    skippable_end,
    zstd_frame_end,
)

CHUNK_BYTES = 1 << 20
_INPUT_BYTES = 1 << 16
_FIRST_INPUT_BYTES = 1 << 12
"""Small, because files have many small members, and even more places that only look like one;
input beyond the end of a member is read in vain.
"""
_READ_BYTES = 1 << 17
"""Output per read of decoders that discard what they have decoded when they meet damage."""
_GZIP_RESERVED_FLAGS = 0xE0
_GZIP_UNLIKE = frozenset({b"", *(bytes([flags]) for flags in range(256) if flags & 0xE2)})
"""Flags of members that are left to zlib: reserved ones, and a checksum of the header, which ISA-L
does not check.
"""
_GZIP_WINDOW_BITS = 31
_XZ_MEMORY_BYTES = 1 << 28
"""Four times what `xz -9` needs."""

Member = Generator[bytes, None, int | None]
"""Yields the decompressed content of one member; returns the offset of its end, or None if it is
damaged.
"""


@dataclass(frozen=True, slots=True)
class Compression:
    """A format of compressed members.

    `magic`: first bytes of a member. `read`: decodes one. `more`: a longer pattern that must match
    too. `probe`: decodes one where only its first bytes are wanted.
    """

    name: str
    magic: bytes
    read: Callable[[mmap.mmap, int], Member]
    more: re.Pattern[bytes] | None = None
    probe: Callable[[mmap.mmap, int], Member] | None = None

    def first(self, view: mmap.mmap, at: int) -> bytes | None:
        """First bytes of the content of a member at `at`; None if it has none."""
        return next((self.probe or self.read)(view, at), None)

    def begins(self, view: mmap.mmap, at: int) -> bool:
        """Whether a member may begin at `at`."""
        if view[at : at + len(self.magic)] != self.magic:
            return False
        return self.more is None or self.more.match(view, at) is not None


class Begun(NamedTuple):
    """A gzip member decoded by ISA-L so far.

    `parts`: its content as it came, none of it yielded. `at`: where its next input begins. `end`:
    the offset of the member's end, if all of it is decoded; `inflate`: else what goes on, or None
    where only zlib can tell.
    """

    parts: list[bytes]
    at: int
    end: int | None = None
    inflate: Any = None


def begin_gzip(view: mmap.mmap, start: int) -> Begun:
    """Decode a gzip member up to its end, or until it has more than `CHUNK_BYTES`.

    The members of most archives are whole then, and no generator was needed for them.
    """
    parts: list[bytes] = []
    if view[start + 3 : start + 4] in _GZIP_UNLIKE:
        return Begun(parts, start)
    at, size, window = start, 0, _FIRST_INPUT_BYTES
    inflate = isal_zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        while True:
            given = inflate.unconsumed_tail
            if not given:
                given = view[at : at + window]
                at, window = at + len(given), _INPUT_BYTES
            data = inflate.decompress(given, CHUNK_BYTES)
            if data:
                parts.append(data)
                size += len(data)
            if inflate.eof:
                return Begun(parts, at, at - len(inflate.unused_data))
            if not data and len(inflate.unconsumed_tail) == len(given):
                return Begun([], start)
            if size > CHUNK_BYTES:
                return Begun(parts, at, None, inflate)
    except isal_zlib.error:  # type: ignore[misc]  # declared as an instance
        return Begun([], start)


def rest_of_gzip(view: mmap.mmap, start: int, begun: Begun) -> Member:
    """All of a member that was begun and is not whole.

    ISA-L decodes gzip twice as fast as zlib. What it does not decode to the end, zlib decodes
    again: so damaged and cut members yield what they yield with zlib, whose behaviour is known.
    ISA-L's inputs end wherever zlib's do, and it reports a wrong checksum up to one call late. So
    of an input that zlib refuses, nothing has been yielded if outputs are held until two more calls
    succeed.
    """
    yielded, at, inflate = 0, begun.at, begun.inflate
    held = deque(begun.parts)
    size = sum(map(len, held))
    try:
        while inflate is not None and not inflate.eof:
            while size > CHUNK_BYTES and len(held) > 2:
                yielded += len(held[0])
                yield held.popleft()
            given = inflate.unconsumed_tail
            if not given:
                given = view[at : at + _INPUT_BYTES]
                at += len(given)
            data = inflate.decompress(given, CHUNK_BYTES)
            if data:
                held.append(data)
                size += len(data)
            elif len(inflate.unconsumed_tail) == len(given):
                break
    except isal_zlib.error:  # type: ignore[misc]  # declared as an instance
        pass
    else:
        if inflate is not None and inflate.eof:
            yield from held
            return at - len(inflate.unused_data)
    return (yield from _after(yielded, _gzip_member_by_zlib(view, start)))


def _gzip_member(view: mmap.mmap, start: int) -> Member:
    begun = begin_gzip(view, start)
    if begun.end is None:
        return (yield from rest_of_gzip(view, start, begun))
    yield from begun.parts
    return begun.end


def _gzip_member_by_zlib(view: mmap.mmap, start: int) -> Member:
    if start + 3 >= len(view) or view[start + 3] & _GZIP_RESERVED_FLAGS:
        return None
    inflate = zlib.decompressobj(_GZIP_WINDOW_BITS)
    at, window = start, _FIRST_INPUT_BYTES
    while not inflate.eof:
        given = inflate.unconsumed_tail
        if not given:
            given = view[at : at + window]
            at, window = at + len(given), _INPUT_BYTES
        try:
            data = inflate.decompress(given, CHUNK_BYTES)
        except zlib.error:
            return None
        if not data and not given:
            return None
        if data:
            yield data
    return at - len(inflate.unused_data)


def _after(skipped: int, reading: Member) -> Member:
    """A member without its first `skipped` bytes."""
    while True:
        try:
            data = next(reading)
        except StopIteration as ended:
            end: int | None = ended.value
            return end
        if skipped < len(data):
            yield data[skipped:]
        skipped = max(skipped - len(data), 0)


def _bzip2_stream(view: mmap.mmap, start: int) -> Member:
    return (yield from _stream(view, start, bz2.BZ2Decompressor()))


def _xz_stream(view: mmap.mmap, start: int) -> Member:
    return (
        yield from _stream(
            view, start, lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
        )
    )


def _stream(
    view: mmap.mmap, start: int, decoder: bz2.BZ2Decompressor | lzma.LZMADecompressor
) -> Member:
    at = start
    while not decoder.eof:
        given = b""
        if decoder.needs_input:
            given = view[at : at + _INPUT_BYTES]
            at += len(given)
            if not given:
                return None
        try:
            data = decoder.decompress(given, CHUNK_BYTES)
        except (OSError, EOFError, lzma.LZMAError):
            return None
        if data:
            yield data
    return at - len(decoder.unused_data)


def _lz4_frame(view: mmap.mmap, start: int) -> Member:
    """A frame without an end yields what can be decoded, as in all these formats."""
    end = lz4_frame_end(view, start)
    try:
        with Lz4Reader(_MappedRange(view, start, end or len(view))) as stream:
            while data := stream.read(_READ_BYTES):
                yield data
    except OSError:
        return None
    return end


def _zstd_frame(view: mmap.mmap, start: int) -> Member:
    end = zstd_frame_end(view, start)
    decoder = zstandard.ZstdDecompressor(_dictionary(view), max_window_size=MAX_ZSTD_WINDOW)
    try:
        with decoder.stream_reader(
            io.BufferedReader(_MappedRange(view, start, end or len(view))), read_across_frames=False
        ) as stream:
            while data := stream.read(_READ_BYTES):
                yield data
    except zstandard.ZstdError:
        return None
    return end


_DICTIONARY_FRAME = b"\x5d\x2a\x4d\x18"
_MAX_DICTIONARY_BYTES = 1 << 24


def _dictionary(view: mmap.mmap) -> zstandard.ZstdCompressionDict | None:
    """The dictionary in a skippable frame at the start of a .warc.zst file, compressed or not."""
    end = skippable_end(view, 0) if view[:4] == _DICTIONARY_FRAME else None
    if end is None or end > _MAX_DICTIONARY_BYTES:
        return None
    data = view[8:end]
    if data.startswith(ZSTD_MAGIC):
        try:
            data = zstandard.ZstdDecompressor().decompress(
                data, max_output_size=_MAX_DICTIONARY_BYTES
            )
        except zstandard.ZstdError:
            return None
    return zstandard.ZstdCompressionDict(data)


GZIP = Compression("gzip", b"\x1f\x8b\x08", _gzip_member, probe=_gzip_member_by_zlib)
LZ4 = Compression("lz4", LZ4_MAGIC, _lz4_frame)
ZSTD = Compression("zstd", ZSTD_MAGIC, _zstd_frame)
BZIP2 = Compression("bzip2", b"BZh", _bzip2_stream, re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"))
XZ = Compression("xz", b"\xfd7zXZ\0", _xz_stream)
COMPRESSIONS = (GZIP, ZSTD, LZ4, BZIP2, XZ)


class _MappedRange(io.RawIOBase):
    """Bytes [start, end) of a mapped file, as a stream."""

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
