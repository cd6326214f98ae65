"""A remote file that is read in pieces: of what is wanted, ahead of the reader, in bounded memory.

Parquet is read here and there: the footer, then the chunks of the wanted columns. Wanted stretches
of the file are known from the footer; those that lie close together are fetched as one block, and
the blocks after the one that is being read are already on their way.
"""

from __future__ import annotations

import bisect
import concurrent.futures
import io
from collections import OrderedDict
from collections.abc import Callable, Sequence

GAP_BYTES = 32 << 10
"""Wanted stretches this far apart are one block: a request costs more than the bytes between."""

BLOCK_BYTES = 4 << 20
AHEAD_BYTES = 24 << 20
"""Fetched before it is asked for; less at first, so that who stops early has fetched little."""

HELD_BYTES = 64 << 20
"""Blocks are let go beyond this, the longest unused first."""

CONNECTIONS = 4
TAIL_BYTES = 64 << 10
"""Read at once from the end of a file: the footer, unless it is larger."""

Fetch = Callable[[int, int], bytes]
"""(start, stop) -> the bytes of a file in [start, stop)."""


def blocks_of(
    ranges: Sequence[tuple[int, int]], gap: int = GAP_BYTES, most: int = BLOCK_BYTES
) -> list[tuple[int, int]]:
    """Wanted ranges (sorted) as blocks [start, stop) of at most `most` bytes, neighbours joined."""
    joined: list[tuple[int, int]] = []
    for start, stop in ranges:
        if joined and start - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return [(at, min(at + most, stop)) for start, stop in joined for at in range(start, stop, most)]


class RangeFile(io.RawIOBase):
    """A file object over `fetch`; `want` says what will be read of it."""

    def __init__(self, size: int, fetch: Fetch) -> None:
        self._size, self._fetch = size, fetch
        self._position = 0
        self._blocks: list[tuple[int, int]] = []
        self._starts: list[int] = []
        self._held: OrderedDict[int, concurrent.futures.Future[bytes]] = OrderedDict()
        self._pool = concurrent.futures.ThreadPoolExecutor(CONNECTIONS)
        self._tail = b""
        self._used = 0
        self._served: set[int] = set()

    def want(self, ranges: Sequence[tuple[int, int]], most: int = BLOCK_BYTES) -> None:
        """What will be read from now on: sorted ranges [start, stop), in blocks of `most` bytes."""
        for future in self._held.values():
            future.cancel()
        self._held.clear()
        self._used = 0
        self._served.clear()
        self._blocks = blocks_of(ranges, most=most)
        self._starts = [start for start, _ in self._blocks]

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def size(self) -> int:
        """Bytes of the whole file."""
        return self._size

    def read(self, size: int = -1) -> bytes:
        """The next bytes; all of the rest for -1."""
        stop = self._size if size < 0 else min(self._position + size, self._size)
        found = bytearray()
        while self._position < stop:
            piece = self._piece(self._position, stop)
            found += piece
            self._position += len(piece)
        return bytes(found)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As `read`, into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Let go of all blocks; those on their way are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._held.clear()
        super().close()

    def _piece(self, start: int, stop: int) -> bytes:
        """Some of [start, stop), from its beginning on."""
        if start >= self._size - TAIL_BYTES and not self._blocks:
            tail = max(self._size - TAIL_BYTES, 0)
            self._tail = self._tail or self._fetch(tail, self._size)
            return self._tail[start - tail : stop - tail]
        number = bisect.bisect_right(self._starts, start) - 1
        if number < 0 or start >= self._blocks[number][1]:
            following = self._starts[number + 1] if number + 1 < len(self._starts) else stop
            return self._fetch(start, min(stop, following))
        begin = self._blocks[number][0]
        return self._block(number)[start - begin : stop - begin]

    def _block(self, number: int) -> bytes:
        if number not in self._served:
            self._served.add(number)
            self._used += self._bytes(number)
        ahead = 0
        for at in range(number, len(self._blocks)):
            if at > number and ahead >= min(self._used, AHEAD_BYTES):
                break
            if at not in self._held:
                self._held[at] = self._pool.submit(self._fetch, *self._blocks[at])
            ahead += self._bytes(at)
        self._held.move_to_end(number)
        data = self._held[number].result()
        held = sum(map(self._bytes, self._held))
        for at in list(self._held):
            if held <= HELD_BYTES or at == number:
                break
            self._held.pop(at).cancel()
            held -= self._bytes(at)
        return data

    def _bytes(self, number: int) -> int:
        start, stop = self._blocks[number]
        return stop - start
