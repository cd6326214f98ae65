"""Decompressed bytes of a file in chunks of bounded size, going on after what is broken.

What a file is shows in its bytes, not in its name, and may change on the way: compressed archives
are concatenations of members, for web archives usually one a record, and some have had plain
records appended. A member that does not decompress (bad header, bad data, bad checksum, cut short)
yields what came out of it and then a `Gap`; reading goes on at the next place in the file where a
member starts and decompresses.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.ingest.codings import is_text
from tasks.ingest.frames import skippable_end
from tasks.ingest.members import CHUNK_BYTES, COMPRESSIONS, GZIP, Compression

_PEEK_BYTES = 1 << 16
_MAGICS = re.compile(b"|".join(re.escape(kind.magic) for kind in COMPRESSIONS))
_LONGEST_MAGIC = max(len(kind.magic) for kind in COMPRESSIONS) - 1
_ENDINGS = (".gz", ".lz4", ".zst", ".bz2", ".xz")
_PADDING = b"\0\r\n \t"


@dataclass(frozen=True, slots=True)
class Content:
    """What a file is made of once decompressed, so that plain bytes among members are told from
    rubble.

    `begin` matches where it begins; None: lines of text, which begin where there are no control
    characters.
    """

    begin: re.Pattern[bytes] | None = None

    def begins(self, data: bytes) -> bool:
        """Whether bytes, but for blanks, are the beginning of it."""
        if self.begin is None:
            return is_text(data)
        return self.begin.match(data.lstrip(_PADDING)) is not None

    def find(self, view: mmap.mmap, at: int, stop: int) -> int:
        """Where in rubble it begins again uncompressed; `stop` if nowhere, or if that cannot be
        told.
        """
        found = self.begin.search(view, at, stop) if self.begin is not None else None
        return found.start() if found else stop


TEXT = Content()


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes found `inner` bytes into what the member at file offset `member` decompresses to.

    Plain bytes count from where they begin: `member` is 0 in plain files, `inner` the place in the
    file.
    """

    data: bytes
    member: int
    inner: int


@dataclass(frozen=True, slots=True)
class Gap:
    """`lost_bytes` of the file from offset `member` on could not be read; `reason` names the
    compression.
    """

    reason: str
    member: int
    lost_bytes: int


def chunks(
    path: Path, content: Content = TEXT, plain_from: int | None = None
) -> Iterator[Chunk | Gap]:
    """All bytes of a file, in order. `plain_from`: those of a plain file from this offset on."""
    if not path.stat().st_size:
        return
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        if plain_from is None:
            yield from _walk(view, path.suffix in _ENDINGS, content)
        else:
            for at in range(plain_from, len(view), CHUNK_BYTES):
                yield Chunk(view[at : at + CHUNK_BYTES], 0, at)


def compression(path: Path) -> str | None:
    """How a file is compressed, by its first bytes; None for one that begins plain."""
    if not path.stat().st_size:
        return None
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        found = _compression_at(view, _past_skippable(view, 0))
    return found.name if found else None


def _walk(view: mmap.mmap, named: bool, content: Content) -> Iterator[Chunk | Gap]:
    at = 0
    last = GZIP if named else None
    while (at := _past_skippable(view, at)) < len(view):
        found = _compression_at(view, at)
        if found is None and (
            last is None or content.begins(_before_member(view[at : at + _PEEK_BYTES]))
        ):
            at = yield from _plain(view, at, content)
            continue
        end = (yield from _member(view, at, found)) if found else None
        last = found or last or GZIP
        if end is None:
            end = _after_rubble(view, at + 1, last, content)
            if (
                at == 0 and end == len(view) and found is None
            ):  # a plain file with a compressed one's name
                end = yield from _plain(view, at, content)
            elif view[at:end].strip(_PADDING):
                yield Gap(last.name, at, end - at)
        at = end


def _member(
    view: mmap.mmap, start: int, compression: Compression
) -> Generator[Chunk, None, int | None]:
    """The chunks of one member; returns its end, or None for a broken one."""
    reading, inner = compression.read(view, start), 0
    while True:
        try:
            data = next(reading)
        except StopIteration as ended:
            end: int | None = ended.value
            return end
        yield Chunk(data, start, inner)
        inner += len(data)


def _plain(view: mmap.mmap, start: int, content: Content) -> Generator[Chunk, None, int]:
    """The chunks of a plain stretch; returns its end: the file's, or where a member of the same
    content begins.

    A page that was stored compressed is a member too, of other content, and stays a part of its
    record.
    """
    at = start
    while at < len(view):
        stop = min(at + CHUNK_BYTES, len(view))
        found = _member_of(content, view, max(at, start + 1), min(stop + _LONGEST_MAGIC, len(view)))
        if found is not None:
            stop = found
        if stop > at:
            yield Chunk(view[at:stop], start, at - start)
        at = stop
        if found is not None:
            break
    return at


def _member_of(content: Content, view: mmap.mmap, at: int, stop: int) -> int | None:
    """Where the first member begins that starts in [at, stop) and holds the content."""
    for found in _MAGICS.finditer(view, at, stop):
        begins = (kind for kind in COMPRESSIONS if kind.begins(view, found.start()))
        if any(content.begins(next(kind.read(view, found.start()), b"\0")) for kind in begins):
            return found.start()
    return None


def _after_rubble(view: mmap.mmap, at: int, compression: Compression, content: Content) -> int:
    """The next offset from `at` on where a member begins and gives a byte, or plain content begins;
    else the end.
    """
    begin, stop = at, len(view)
    while (at := view.find(compression.magic, at)) >= 0:
        if compression.begins(view, at) and next(compression.read(view, at), None) is not None:
            stop = at
            break
        at += 1
    return content.find(view, begin, stop)


def _before_member(data: bytes) -> bytes:
    """What stands before the first member: a plain beginning may be short."""
    found = _MAGICS.search(data)
    return data[: found.start()] if found else data


def _compression_at(view: mmap.mmap, at: int) -> Compression | None:
    return next((found for found in COMPRESSIONS if found.begins(view, at)), None)


def _past_skippable(view: mmap.mmap, at: int) -> int:
    while (end := skippable_end(view, at)) is not None:
        at = end
    return at
