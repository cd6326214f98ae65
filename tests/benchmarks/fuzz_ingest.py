"""Damaged inputs: nothing uncaught is raised, in bounded memory and time (`make fuzz`).

    python tests/benchmarks/fuzz_ingest.py [--inputs 10000] [--first 0] [--step 1]

Each input (`tests/tasks/ingest/mutations.py`) is ingested to a Parquet file, in one process whose
address space may grow by 1 GiB. Prints inputs by level, exceptions with the number of their input
(`--first NUMBER --inputs 1` repeats one), the slowest inputs and the growth of resident memory;
fails on an exception, on an input of over 10 s of processor time, and on growth over 512 MiB. Real
pages, where PUNA_REAL_DATA or ../shared/data has them, are mutated beside a made one.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from fastwarc.warc import ArchiveIterator

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.tasks.ingest.archives import page  # noqa: E402
from tests.tasks.ingest.mutations import ingested, mutated  # noqa: E402

DATA = Path(os.environ.get("PUNA_REAL_DATA", ROOT.parent / "shared" / "data"))
WARM_UP = 50
GROWTH_BYTES = 1 << 30
RESIDENT_BYTES = 512 << 20
INPUT_S = 10.0
_PAGE_BYTES = resource.getpagesize()


def seeds() -> tuple[bytes, ...]:
    """Pages to damage, those of at most 200 KB."""
    archive = DATA / "derived" / "real-pages-dev.warc.gz"
    if not archive.exists():
        return (page(1),)
    with archive.open("rb") as stream:
        bodies = [record.reader.read() for record in ArchiveIterator(stream)]
    return (page(1), *(body for body in bodies if len(body) <= 200_000))


def sizes() -> tuple[int, int]:
    """Bytes of the process: (address space, resident)."""
    total, resident = map(int, Path("/proc/self/statm").read_text().split()[:2])
    return total * _PAGE_BYTES, resident * _PAGE_BYTES


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--step", type=int, default=1, help="7: inputs of one level")
    given = parser.parse_args()
    pages = seeds()
    levels, failures = Counter[str](), Counter[str]()
    slowest: list[tuple[float, int, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(WARM_UP):  # imports, and compiles loops
            ingested(mutated(number, (page(1),)), Path(folder))
        space, resident = sizes()
        resource.setrlimit(resource.RLIMIT_AS, (space + GROWTH_BYTES, resource.RLIM_INFINITY))
        peak = resident
        last = given.first + given.inputs * given.step
        for number in range(given.first, last, given.step):
            one = mutated(number, pages)
            began = time.process_time()
            try:
                ingested(one, Path(folder))
                levels[one.level] += 1
            except Exception as error:
                name = type(error).__name__
                failures[name] += 1
                print(f"input {number} ({one.level}): {name}")
                if failures[name] <= 3:
                    traceback.print_exc()
            took = time.process_time() - began
            slowest = sorted([*slowest, (took, number, one.level)], reverse=True)[:5]
            peak = max(peak, sizes()[1])
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - resident
    named = ", ".join(f"{took:.2f} s ({number}, {level})" for took, number, level in slowest)
    print(f"{given.inputs:,} inputs of {len(pages)} pages; read by level: {dict(levels)}")
    print(f"slowest: {named}")
    print(
        f"resident {resident >> 20} MiB before, {peak >> 20} MiB at most after an input, "
        f"{growth >> 20} MiB more at the peak within one"
    )
    print(f"uncaught: {dict(failures) or 'none'}")
    sys.exit(bool(failures) or slowest[0][0] > INPUT_S or growth > RESIDENT_BYTES)


if __name__ == "__main__":
    main()
