"""Memory of ingest: over many archives, and in the face of giant records.

    python tests/benchmarks/archive_memory.py [files giants]

files    200 archives of real pages, as 200 parts in one process, then one part of 1, 10, 100 and
         200 archives, each in a process of its own; documents are written to Parquet
giants   a record of 2 GB of zeros in one gzip member, pages of 100 MB of <div>: stored as they are,
         gzip-coded, and as large as a page may be

Prints resident memory as the files go by, and the peak of each process (MiB). Real pages are read
from PUNA_REAL_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import gzip
import io
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fastwarc.warc import ArchiveIterator

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from infra.ledger import Ledger  # noqa: E402
from infra.stage import Pin  # noqa: E402
from tasks.ingest.part import ingest_part  # noqa: E402
from tasks.ingest.parts import FileSlice, PartInput  # noqa: E402
from tasks.ingest.stage import IngestParameters  # noqa: E402
from tests.tasks.ingest.archives import members, page, record, response  # noqa: E402

DATA = Path(os.environ.get("PUNA_REAL_DATA", ROOT.parent / "shared" / "data"))
FILES = 200
PAGES_PER_FILE = 20
STEP = 20
_PIECE = 1 << 20


def make_archives(folder: Path) -> list[Path]:
    """`FILES` archives, each of other real pages."""
    with (DATA / "derived" / "real-pages-dev.warc.gz").open("rb") as stream:
        bodies = [one.reader.read() for one in ArchiveIterator(stream, parse_http=False)]
    packed = [
        gzip.compress(record("response", body, f"http://a/{at}")) for at, body in enumerate(bodies)
    ]
    paths = []
    for number in range(FILES):
        path = folder / f"{number:03}.warc.gz"
        path.write_bytes(b"".join(random.Random(number).sample(packed, PAGES_PER_FILE)))
        paths.append(path)
    return paths


def ingest(paths: Sequence[Path]) -> dict[str, Any]:
    """One part of these archives; its Parquet file is removed."""
    parameters = IngestParameters.model_validate({"format": "warc", "paths": list(map(str, paths))})
    slices = tuple(
        FileSlice(Pin(str(path), path.name, "ab" * 32, path.stat().st_size)) for path in paths
    )
    part = PartInput("memory", slices, parameters, "warc")
    out = paths[0].with_suffix(".parquet")
    result = ingest_part(part, SimpleNamespace(key="part", create=lambda _: nullcontext(out)))  # type: ignore[arg-type]
    out.unlink()
    return result


def resident() -> int:
    """MiB now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20


def peak() -> int:
    """MiB at most so far. (`ru_maxrss` would begin at what the parent had.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def _many(paths: Sequence[Path]) -> str:
    seen = []
    for number, path in enumerate(paths, 1):
        ingest([path])
        if number == 1 or number % STEP == 0:
            seen.append(f"{number}: {resident()}")
    return f"one process, parts done: resident  {'  '.join(seen)}  peak {peak()}"


def _part(paths: Sequence[Path]) -> str:
    documents = ingest(paths)["statistics"]["documents"]
    return f"one part of {len(paths):3} archives: {documents:5} documents, peak {peak()}"


def _giant(path: Path) -> str:
    began = time.process_time()
    result = ingest([path])
    ledger = Ledger.merged([result["ledger"]])
    outcomes = {entry.reason: entry.documents for entry in ledger.lost()}
    return (
        f"{path.name:24} {path.stat().st_size >> 10:8} KiB  documents "
        f"{result['statistics']['documents']}  {outcomes}  "
        f"{time.process_time() - began:.1f} s  peak {peak()}"
    )


def _alone(work: Any, given: Any) -> None:
    """Print the result of a function that runs in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(work, (given,)), flush=True)


def _zeros(uri: str, size: int) -> Iterator[bytes]:
    yield record("response", b"", uri, length=size).removesuffix(b"\r\n\r\n")
    yield from (bytes(_PIECE) for _ in range(size // _PIECE))
    yield b"\r\n\r\n"


def make_giants(folder: Path) -> list[Path]:
    """Archives with a giant between two pages."""
    first, last = members([response(page(0))]), members([response(page(1))])
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as stream:
        for piece in _zeros("http://a/zeros", 2 << 30):
            stream.write(piece)
    divs = b"<div>" * (100_000_000 // 5)
    limit = IngestParameters.model_fields["max_page_bytes"].default
    most = b"<html><body>" + b"<div>" * ((limit - 99) // 5)
    coded = "Content-Type: text/html\r\nContent-Encoding: gzip"
    giants = {
        "zeros-2gb": buffer.getvalue(),
        "divs-100mb": members([response(divs)]),
        "divs-100mb-plain-record": response(divs),
        "divs-100mb-coded": members([response(gzip.compress(divs), coded)]),
        "divs-as-many-as-allowed": members([response(most)]),
    }
    paths = []
    for name, data in giants.items():
        path = folder / name
        path.write_bytes(first + data + last)
        paths.append(path)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=["files", "giants"])
    parts = parser.parse_args().parts
    with tempfile.TemporaryDirectory() as name:
        if "files" in parts:
            paths = make_archives(Path(name))
            _alone(_many, paths)
            for count in (1, 10, 100, 200):
                _alone(_part, paths[:count])
        if "giants" in parts:
            for path in make_giants(Path(name)):
                _alone(_giant, path)


if __name__ == "__main__":
    main()
