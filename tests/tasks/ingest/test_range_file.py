"""Reading a file in pieces: only what is wanted, ahead, in bounded memory."""

import io
import random
import threading

from hypothesis import given
from hypothesis import strategies as st

from tasks.ingest.range_file import RangeFile, blocks_of


class Remote:
    """Bytes that count what is fetched of them."""

    def __init__(self, size: int) -> None:
        self.data = random.Random(0).randbytes(size)
        self.fetched: list[tuple[int, int]] = []
        self.lock = threading.Lock()

    def fetch(self, start: int, stop: int) -> bytes:
        with self.lock:
            self.fetched.append((start, stop))
        return self.data[start:stop]

    @property
    def bytes(self) -> int:
        return sum(stop - start for start, stop in self.fetched)


@given(
    st.lists(st.tuples(st.integers(0, 400_000), st.integers(1, 90_000)), max_size=8),
    st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 50_000)), max_size=8),
)
def test_reads_what_the_file_holds(
    wanted: list[tuple[int, int]], reads: list[tuple[int, int]]
) -> None:
    remote = Remote(400_000)
    with RangeFile(400_000, remote.fetch) as file:
        file.want(sorted((start, min(start + size, 400_000)) for start, size in wanted))
        for start, size in reads:
            file.seek(start)
            assert file.read(size) == remote.data[start : start + size]
            assert file.tell() == min(start + size, 400_000)
        file.seek(-10, io.SEEK_END)
        assert file.read() == remote.data[-10:]


def test_neighbours_are_one_block_and_large_stretches_several() -> None:
    assert blocks_of([(0, 10), (12, 20), (100, 110)], gap=5, most=50) == [(0, 20), (100, 110)]
    assert blocks_of([(0, 10), (5, 130)], gap=0, most=50) == [(0, 50), (50, 100), (100, 130)]
    assert blocks_of([]) == []


def test_who_stops_early_has_fetched_little() -> None:
    remote = Remote(1 << 20)
    with RangeFile(1 << 20, remote.fetch) as file:
        file.want([(0, 1 << 20)], most=1 << 14)
        file.read(100)
    assert remote.bytes == 1 << 14


def test_blocks_are_read_once_and_let_go() -> None:
    remote = Remote(3 << 20)
    with RangeFile(3 << 20, remote.fetch) as file:
        file.want([(0, 1 << 20), (2 << 20, 3 << 20)])
        for at in range(0, 1 << 20, 1 << 16):  # two columns, read in turns
            for base in (0, 2 << 20):
                file.seek(base + at)
                assert len(file.read(1 << 16)) == 1 << 16
    assert remote.bytes == 2 << 20 and len(remote.fetched) == len(set(remote.fetched))
