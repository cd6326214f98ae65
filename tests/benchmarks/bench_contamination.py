"""Documents a second on one core, 2.5 KB each: line deduplication and decontamination, beside a ceiling and datatrove.

    python tests/benchmarks/bench_contamination.py [documents]

Ours are the stages as they run (inline; Parquet read and written, manifest and all). The ceiling reads the same Parquet
and hashes every text once (BLAKE2b). datatrove's steps get the documents in memory, without reading or writing them.
Processor time, best of three for ours. Reads PUNA_REAL_DATA or ../shared/data; peers: `make peers`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from infra.store import Artifact
from tasks.benchmarks.model import BenchmarkFiles
from tasks.decontaminate.stage import STAGE as DECONTAMINATE
from tasks.decontaminate.stage import DecontaminateParameters
from tasks.line_dedup.stage import STAGE as LINE_DEDUP
from tasks.line_dedup.stage import LineDedupParameters
from tests import tables
from tests.stage_harness import run_stage
from tests.tasks.decontaminate import leaks

DATA = Path(os.environ.get("PUNA_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
PEERS = Path(__file__).resolve().parents[2] / "build" / "peers" / "bin" / "python"
DOCUMENT_BYTES = 2_500


def texts(count: int) -> list[str]:
    """Documents of real English lines, drawn anew for each; every tenth line is one of 50 menus and notices."""
    rng = random.Random(0)
    file = DATA / "web_en/fineweb-sample/fineweb_sample.txt"
    lines = [line.strip() for line in file.read_text("utf-8").split("\n") if 20 < len(line) < 600]
    menus = rng.sample(lines, 50)
    found = []
    for _ in range(count):
        own = "".join(rng.choices("abcdefghijklmnop", k=8))
        document: list[str] = []
        while sum(map(len, document)) < DOCUMENT_BYTES:
            document.append(rng.choice(menus) if rng.random() < 0.1 else f"{rng.choice(lines)} {own}")
        found.append("\n".join(document))
    return found


def best(work: Callable[[int], object], rounds: int = 3) -> float:
    """Least processor seconds of several calls."""
    seconds = []
    for number in range(rounds):
        started = time.process_time()
        work(number)
        seconds.append(time.process_time() - started)
    return min(seconds)


def ceiling(given: Artifact) -> None:
    """Read every text and hash it."""
    for name in given.files("part-"):
        file = pq.ParquetFile(given.path(name))
        for group in range(file.num_row_groups):
            for text in file.read_row_group(group, columns=["text"])["text"].to_pylist():
                hashlib.blake2b(text.encode(), digest_size=8).digest()


def main() -> None:
    """Print one line a stage."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    given_texts = texts(count)
    size = sum(len(text.encode()) for text in given_texts) / count
    against = {
        name: BenchmarkFiles(format=format_, paths=tuple(map(str, sorted((DATA / "benchmarks").glob(pattern)))))
        for name, (format_, pattern) in leaks.FILES.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tables.ROW_GROUP_DOCUMENTS = 1_000
        given = tables.documents(root, "web", [given_texts[: count // 2], given_texts[count // 2 :]])
        seconds = {
            "line_dedup": best(
                lambda n: run_stage(
                    LINE_DEDUP, LineDedupParameters(), {"documents": given}, "web", tmp_path=root / f"l{n}"
                )
            ),
            "decontaminate": best(
                lambda n: run_stage(
                    DECONTAMINATE,
                    DecontaminateParameters(against=against),
                    {"documents": given},
                    "web",
                    tmp_path=root / f"d{n}",
                )
            ),
            "ceiling": best(lambda _: ceiling(given)),
        }
        rates = {name: count / used for name, used in seconds.items()}
        peer: dict[str, float] = {}
        if PEERS.exists():
            few = min(count, 2_000)
            with (root / "documents.jsonl").open("w", encoding="utf-8") as stream:
                stream.writelines(json.dumps({"text": text}) + "\n" for text in given_texts[:few])
            with (root / "items.jsonl").open("w", encoding="utf-8") as stream:
                for items in leaks.real_benchmarks(DATA).values():
                    for item in items:
                        label = "" if item.answer is None else item.choices[item.answer]
                        stream.write(json.dumps({"query": item.question, "label": label}) + "\n")
            command = [PEERS, Path(__file__).with_name("contamination_peers.py"), root / "documents.jsonl"]
            words = [*map(str, command), str(root / "items.jsonl"), str(root / "peer"), str(few)]
            (root / "peer").mkdir()
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            peer = json.loads(done.stdout.strip().split("\n")[-1])
    print(f"{count} documents of {size:,.0f} bytes; ceiling (read and hash) {rates['ceiling']:,.0f} documents/s a core")
    for name in ("line_dedup", "decontaminate"):
        beside = f"; datatrove 0.10.1 {peer[name]:,.0f}, ratio {rates[name] / peer[name]:,.0f}" if peer else ""
        print(f"{name}: {rates[name]:,.0f} documents/s, {rates[name] / rates['ceiling']:.2f} of the ceiling{beside}")


if __name__ == "__main__":
    main()
