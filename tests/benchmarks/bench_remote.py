"""Whole objects and byte ranges from a loopback server with 50 ms latency and a bandwidth limit.

Asked of both: 0.8 of the limit. The server is a process of its own; what is read is compared.
Single ranges, one a request, cannot exceed what ten connections get in a round trip; where that is
less than the limit, it is the ceiling.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from infra.remote import objects
from infra.remote.access import Access
from infra.remote.ahead import local_pins
from infra.remote.ranges import Range, read_ranges
from infra.stage import Pin

LATENCY_S = 0.05
LIMITS = (20e6, 60e6)
"""Bytes a second, over all connections."""

FILES, FILE_BYTES = 8, 24 << 20
RANGE_BYTES = (20_000, 200_000)
JOINED_BYTES = (200_000, 2_000_000)
"""Ranges as they are asked for where neighbours are joined."""


@contextlib.contextmanager
def server(root: Path, bytes_per_s: float) -> Iterator[str]:
    """The address of a running server."""
    command = [sys.executable, "-m", "tests.loopback.http", str(root), str(LATENCY_S)]
    started = subprocess.Popen(
        [*command, str(bytes_per_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert started.stdout is not None and started.stdin is not None
    try:
        yield started.stdout.readline().strip()
    finally:
        started.stdin.close()
        started.wait()


def main() -> None:
    """See the module."""
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder, "files"), Path(folder, "cache")
        root.mkdir()
        bodies = {f"{number}.bin": rng.randbytes(FILE_BYTES) for number in range(FILES)}
        for name, body in bodies.items():
            (root / name).write_bytes(body)
        for limit in LIMITS:
            access = Access(cache=cache / f"{limit:.0f}")
            print(f"latency 50 ms, limit {limit / 1e6:.0f} MB/s: MB/s read, of what is possible")
            count = max(2, int(limit * 6 / FILE_BYTES))
            with server(root, limit) as address:
                pins = [objects.stat(f"http://{address}/{name}", access) for name in bodies]
                whole = pins[: min(count, FILES)]
                begun = time.perf_counter()
                for pin, found in zip(whole, local_pins(whole, access), strict=True):
                    assert Path(found.path).stat().st_size == pin.bytes
                report("whole objects", limit, sum(p.bytes for p in whole), begun)

                for sizes in (RANGE_BYTES, JOINED_BYTES):
                    wanted, total = scattered(pins, sizes, limit * 3, rng)
                    trip_s = LATENCY_S * len(wanted) / access.connections
                    ceiling = min(limit, total / trip_s)
                    begun = time.perf_counter()
                    for one, data in zip(wanted, read_ranges(wanted, access), strict=True):
                        assert data == bodies[one.pin.name][one.start : one.stop]
                    what = f"{len(wanted)} ranges of {sizes[0] // 1000} to {sizes[1] // 1000} kB"
                    report(what, ceiling, total, begun)


def scattered(
    pins: list[Pin], sizes: tuple[int, int], total: float, rng: random.Random
) -> tuple[list[Range], int]:
    """Ranges of these sizes at random places, and their bytes in all."""
    wanted: list[Range] = []
    while sum(one.stop - one.start for one in wanted) < total:
        pin, size = rng.choice(pins), rng.randint(*sizes)
        start = rng.randrange(FILE_BYTES - size)
        wanted.append(Range(pin, start, start + size))
    return wanted, sum(one.stop - one.start for one in wanted)


def report(what: str, ceiling: float, size: int, begun: float) -> None:
    """One line: the ceiling is the server's limit, or what its latency allows."""
    speed = size / (time.perf_counter() - begun)
    print(f"  {what:<34} {speed / 1e6:6.1f} of {ceiling / 1e6:4.0f}: {speed / ceiling:.2f}")


if __name__ == "__main__":
    main()
