"""Decompresses a file in chunks of bounded size, and continues after damage.

The compression is recognised by content, not by name, and may change within a file: compressed
archives are concatenations of members, in web archives usually one per record, and some have had
plain records appended. At each offset:

1. If a member begins here, yield what it decompresses to.
2. If plain content begins here, yield it up to the next member with the same kind of content. (A
   page that was stored compressed is part of its record, not such a member.)
3. Otherwise, and after a member that fails to decompress, skip to the next place where a member
   begins and decompresses, or where plain content begins; yield a `Gap` for the bytes skipped.

Example: of three gzip members of 42 bytes each, the second has a bad checksum. Yielded are the
content of the first, whatever the decoder had returned of the second before it met the error (of a
small member nothing), `Gap("gzip", 42, 42)`, and the content of the third.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tasks.ingest.codings import is_text
from tasks.ingest.frames import skippable_end
from tasks.ingest.members import (
    CHUNK_BYTES,
    COMPRESSIONS,
    GZIP,
    Compression,
    Member,
    begin_gzip,
    rest_of_gzip,
)

_PEEK_BYTES = 1 << 16
_MAGICS = re.compile(b"|".join(re.escape(kind.magic) for kind in COMPRESSIONS))
_LONGEST_MAGIC = max(len(kind.magic) for kind in COMPRESSIONS) - 1
_ENDINGS = (".gz", ".lz4", ".zst", ".bz2", ".xz")
_PADDING = b"\0\r\n \t"


@dataclass(frozen=True, slots=True)
class Content:
    """The kind of content a file has once decompressed, to tell plain content among members from
    damaged bytes.

    `begin` matches its beginning. None stands for lines of text, which begin anywhere without
    control characters.
    """

    begin: re.Pattern[bytes] | None = None

    def begins(self, data: bytes) -> bool:
        """Whether bytes begin like this content, after blanks."""
        if self.begin is None:
            return is_text(data)
        return self.begin.match(data.lstrip(_PADDING)) is not None

    def find(self, view: mmap.mmap, at: int, stop: int) -> int:
        """Where in [at, stop) this content begins uncompressed; `stop` if nowhere, or if it has no
        recognisable beginning.
        """
        match = self.begin.search(view, at, stop) if self.begin is not None else None
        return match.start() if match else stop


TEXT = Content()


class Chunk(NamedTuple):
    """Decompressed bytes, `inner` bytes into the content of the member at file offset `member`.

    For plain bytes, `member` is where the plain stretch begins: in plain files it is 0, and `inner`
    the offset in the file.
    """

    data: bytes
    member: int
    inner: int


class Gap(NamedTuple):
    """`lost_bytes` of the file from offset `member` on could not be read; `reason` is the name of
    the compression.
    """

    reason: str
    member: int
    lost_bytes: int


def chunks(
    path: Path, content: Content = TEXT, plain_from: int | None = None
) -> Iterator[Chunk | Gap]:
    """All decompressed bytes of a file, in order. `plain_from`: read the file as plain, from this
    offset on.
    """
    if not path.stat().st_size:
        return
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        if plain_from is None:
            yield from _walk(view, path.suffix in _ENDINGS, content)
        else:
            for at in range(plain_from, len(view), CHUNK_BYTES):
                yield Chunk(view[at : at + CHUNK_BYTES], 0, at)


def compression(path: Path) -> str | None:
    """Name of the compression that a file begins with; None if it begins plain."""
    if not path.stat().st_size:
        return None
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        first = _compression_at(view, _past_skippable(view, 0))
    return first.name if first else None


def _walk(view: mmap.mmap, has_compressed_name: bool, content: Content) -> Iterator[Chunk | Gap]:
    at = 0
    last = GZIP if has_compressed_name else None
    while True:
        here = last if last is not None and last.begins(view, at) else None
        if here is None:
            at = _past_skippable(view, at)
            if at >= len(view):
                return
            here = _compression_at(view, at)
        if here is None and (
            last is None or content.begins(_before_member(view[at : at + _PEEK_BYTES]))
        ):
            at = yield from _plain(view, at, content)
            continue
        end = None
        if here is GZIP:
            begun = begin_gzip(view, at)
            if begun.end is not None:  # so are nearly all members of web archives
                inner = 0
                for data in begun.parts:
                    yield Chunk(data, at, inner)
                    inner += len(data)
                at, last = begun.end, here
                continue
            end = yield from _member(rest_of_gzip(view, at, begun), at)
        elif here is not None:
            end = yield from _member(here.read(view, at), at)
        last = here or last or GZIP
        if end is None:
            end = _after_damage(view, at + 1, last, content)
            if at == 0 and end == len(view) and here is None:  # plain in spite of its name
                end = yield from _plain(view, at, content)
            elif view[at:end].strip(_PADDING):
                yield Gap(last.name, at, end - at)
        at = end


def _member(reading: Member, start: int) -> Generator[Chunk, None, int | None]:
    """Yield the chunks of one member; return its end, or None if it is damaged."""
    inner = 0
    while True:
        try:
            data = next(reading)
        except StopIteration as ended:
            end: int | None = ended.value
            return end
        yield Chunk(data, start, inner)
        inner += len(data)


def _plain(view: mmap.mmap, start: int, content: Content) -> Generator[Chunk, None, int]:
    """Yield the chunks of a plain stretch; return its end: that of the file, or the next member
    with the same content.
    """
    at = start
    while at < len(view):
        stop = min(at + CHUNK_BYTES, len(view))
        member = _member_of(
            content, view, max(at, start + 1), min(stop + _LONGEST_MAGIC, len(view))
        )
        if member is not None:
            stop = member
        if stop > at:
            yield Chunk(view[at:stop], start, at - start)
        at = stop
        if member is not None:
            break
    return at


def _member_of(content: Content, view: mmap.mmap, at: int, stop: int) -> int | None:
    """Where the first member in [at, stop) begins that holds this content."""
    for magic in _MAGICS.finditer(view, at, stop):
        start = magic.start()
        possible = (kind for kind in COMPRESSIONS if kind.begins(view, start))
        if any(content.begins(kind.first(view, start) or b"\0") for kind in possible):
            return start
    return None


def _after_damage(view: mmap.mmap, at: int, compression: Compression, content: Content) -> int:
    """The next offset from `at` on where a member begins and yields a byte, or where plain content
    begins; else the end.
    """
    begin, stop = at, len(view)
    while (at := view.find(compression.magic, at)) >= 0:
        if compression.begins(view, at) and compression.first(view, at) is not None:
            stop = at
            break
        at += 1
    return content.find(view, begin, stop)


def _before_member(data: bytes) -> bytes:
    """The bytes before the first possible member: plain content may be short."""
    magic = _MAGICS.search(data)
    return data[: magic.start()] if magic else data


def _compression_at(view: mmap.mmap, at: int) -> Compression | None:
    return next((kind for kind in COMPRESSIONS if kind.begins(view, at)), None)


def _past_skippable(view: mmap.mmap, at: int) -> int:
    while (end := skippable_end(view, at)) is not None:
        at = end
    return at
