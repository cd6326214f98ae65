"""Parquet to documents beside a bare pyarrow read-and-write of the same columns, on one core.

    python tests/benchmarks/bench_parquet.py [--documents 40000] [--memory]

speed    processor time, in turn, best of five: stage ingest's part (text cleaned and counted, ids
         made, row groups of a thousand documents) against `iter_batches` of text, url, date,
         language and dump and `write_batch`, in the same batches with the same compression. Texts
         are C4's pages with other words appended to each, from PUNA_REAL_DATA or ../shared/data;
         the file has FineWeb's columns and row groups of a thousand rows.
memory   peak resident memory while 10^7 rows in one row group are read: as stage ingest opens the
         file, and as pyarrow does by default. Each in a process of its own; the file is 340 MB.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from infra.io.files import sha256_file
from infra.stage import Pin
from infra.store import Shard
from tasks.documents.schema import COMPRESSION, ROW_GROUP_DOCUMENTS
from tasks.ingest.part import ingest_part
from tasks.ingest.parts import FileSlice, PartInput
from tasks.ingest.stage import IngestParameters

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("text", "url", "date", "language", "dump")
ROUNDS = 5


def texts(count: int) -> list[str]:
    """Real pages, each with fifty other words, so that none compresses another."""
    data = Path(os.environ.get("PUNA_REAL_DATA", ROOT.parent / "shared" / "data"))
    file = data / "web_en" / "llamafactory" / "c4_demo.jsonl"
    pages = [json.loads(line)["text"] for line in file.open(encoding="utf-8")]
    words = [word for page in pages for word in page.split()]
    rng = random.Random(0)
    starts = [rng.randrange(len(words) - 50) for _ in range(count)]
    return [
        f"{pages[at % len(pages)]} {' '.join(words[start : start + 50])}"
        for at, start in enumerate(starts)
    ]


def write_fineweb(path: Path, count: int) -> None:
    """A file with FineWeb's columns."""
    rows = range(count)
    table = pa.table(
        {
            "text": texts(count),
            "id": [f"<urn:uuid:{at:032x}>" for at in rows],
            "dump": ["CC-MAIN-2024-10"] * count,
            "url": [f"https://www.example{at % 977}.org/articles/{at}" for at in rows],
            "date": [f"2024-02-{1 + at % 28:02d}T04:05:06Z" for at in rows],
            "file_path": [f"s3://commoncrawl/segments/{at % 50}.warc.gz" for at in rows],
            "language": ["en"] * count,
            "language_score": [0.9] * count,
            "token_count": [600] * count,
        }
    )
    pq.write_table(table, path, row_group_size=1_000, compression="snappy")


def bare(path: Path, target: Path) -> None:
    """Read the columns and write them."""
    file = pq.ParquetFile(path)
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    with pq.ParquetWriter(target, schema, compression=COMPRESSION) as writer:
        for batch in file.iter_batches(
            ROW_GROUP_DOCUMENTS, columns=list(COLUMNS), use_threads=False
        ):
            writer.write_batch(batch.select(list(COLUMNS)))


def documents(pin: Pin, folder: Path) -> int:
    """Ingest the file as one part; returns its documents."""
    parameters = IngestParameters(format="parquet", paths=(pin.path,))
    part = PartInput("web", (FileSlice(pin),), parameters, "parquet")
    shard = SimpleNamespace(key="part", create=lambda name: contextlib.nullcontext(folder / name))
    return int(ingest_part(part, cast(Shard, shard))["statistics"]["documents"])


def measured(function: Callable[[], object]) -> float:
    """Seconds of processor time."""
    started = time.process_time()
    function()
    return time.process_time() - started


def speed(count: int) -> None:
    """Print documents a second of both, and their ratio."""
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "fineweb.parquet"
        write_fineweb(path, count)
        pin = Pin(str(path), path.name, sha256_file(path), path.stat().st_size)
        assert documents(pin, folder) == count  # loops are compiled by now
        times: dict[str, list[float]] = {"bare": [], "ours": []}
        for _ in range(ROUNDS):
            times["bare"].append(measured(lambda: bare(path, folder / "bare.parquet")))
            times["ours"].append(measured(lambda: documents(pin, folder)))
        best = {name: min(found) for name, found in times.items()}
        print(f"{count:,} documents, {path.stat().st_size / 1e6:.0f} MB, one core")
        for name, seconds in best.items():
            print(f"  {name}  {count / seconds:>9,.0f} documents/s")
        print(f"  ours / bare = {best['bare'] / best['ours']:.2f}")


_READ = """
import re, sys
from pathlib import Path
import pyarrow.parquet as pq
from tasks.ingest.parquet import open_parquet, read_batches
from tasks.ingest.parquet_columns import Columns
path = Path(sys.argv[2])
def peak():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) >> 10
file = open_parquet(path) if sys.argv[1] == "ours" else pq.ParquetFile(path)
before = peak()
rows = sum(b.rows.num_rows for b in read_batches(file, [0], Columns(("text",))))
print(f"  {sys.argv[1]:<8} {rows:,} rows, {peak() - before} MiB more than before reading")
"""


def memory() -> None:
    """Print the peaks."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "one-group.parquet"
        rng = np.random.default_rng(0)
        letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz      ", np.uint8)
        offsets = pa.py_buffer(np.arange(0, 100_001 * 60, 60, dtype=np.int32))
        chunks = [
            pa.StringArray.from_buffers(
                100_000, offsets, pa.py_buffer(letters[rng.integers(0, 32, size=6_000_000)])
            )
            for _ in range(100)
        ]
        table = pa.table({"text": pa.chunked_array(chunks)})
        pq.write_table(table, path, row_group_size=len(table), use_dictionary=False)
        del table, chunks
        print(f"10^7 rows in one row group, {path.stat().st_size / 1e6:.0f} MB")
        for how in ("ours", "pyarrow"):
            subprocess.run([sys.executable, "-c", _READ, how, str(path)], cwd=ROOT, check=True)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=re.split(r"\n\n", __doc__ or "")[0])
    parser.add_argument("--documents", type=int, default=40_000)
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    speed(given.documents)
    if given.memory:
        memory()


if __name__ == "__main__":
    main()
