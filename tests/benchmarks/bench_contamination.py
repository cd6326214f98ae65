"""Line deduplication and decontamination: speed beside datatrove and a raw ceiling, growth to 10^6
documents.

    python tests/benchmarks/bench_contamination.py                    all of it (wants `make peers`)
    python tests/benchmarks/bench_contamination.py speed growth       or some of it

speed   documents a second of one core's processor time, documents of 2.5 KB of real lines: the
        stages as they run (inline; Parquet read and written, manifest and all), datatrove's steps
        on the documents in memory (nothing read or written; the index of its filter built before),
        and the ceiling: reading the same Parquet and hashing every text once. Best of three for
        ours; what decontaminate needs once, whatever the corpus, is stated apart.
growth  10^4, 10^5, 10^6 generated documents, two processes, line_dedup and then decontaminate
        through its edits: seconds, exponents, peak memory of the heaviest process, lines that go,
        planted items that are found

`--documents N` replaces the size of speed, `--sizes 4 5 6` growth's exponents; `--work FOLDER`
holds it all. Benchmarks and lines are read from PUNA_REAL_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from infra.engine import EngineConfig, start  # noqa: E402
from infra.store import Artifact  # noqa: E402
from tasks.benchmarks.model import BenchmarkFiles  # noqa: E402
from tasks.decontaminate.grams import build_index  # noqa: E402
from tasks.decontaminate.stage import STAGE as DECONTAMINATE  # noqa: E402
from tasks.decontaminate.stage import DecontaminateParameters  # noqa: E402
from tasks.ingest.stage import STAGE as INGEST  # noqa: E402
from tasks.line_dedup.stage import STAGE as LINE_DEDUP  # noqa: E402
from tasks.line_dedup.stage import LineDedupParameters  # noqa: E402
from tests import tables  # noqa: E402
from tests.benchmarks.bench_dedup import (  # noqa: E402
    MARK,
    PEERS,
    WORKERS,
    ingest_parameters,
    marked,
    peak_memory,
)
from tests.benchmarks.dedup_corpus import BLOCK, Corpus, vocabulary  # noqa: E402
from tests.stage_harness import run_stage  # noqa: E402
from tests.tasks.decontaminate import leaks  # noqa: E402

DATA = Path(os.environ.get("PUNA_REAL_DATA", ROOT.parent / "shared" / "data"))
DOCUMENT_BYTES = 2_500
PEER_SHARE = {"line_dedup": 1, "decontaminate": 10}
"""datatrove gets one document in so many: its filter is slow, and its time is proportional to the
documents.
"""

MENUS = 50
"""Menu lines of the generated corpus, `MENUS_A_DOCUMENT` of which stand in every document."""
MENUS_A_DOCUMENT = 3
LEAK_EVERY = 1_000
"""One generated document in so many ends with a benchmark's item as pages print it."""


def main() -> None:
    """Run the sections that were asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sections", nargs="*", default=["speed", "growth"])
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--sizes", type=int, nargs="*", default=[4, 5, 6])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--inner", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inner:
        print(json.dumps(build_stages(given.work, given.inner)))
        return
    with tempfile.TemporaryDirectory(dir=given.work) as temporary:
        for section in given.sections:
            print(f"== {section}", flush=True)
            match section:
                case "speed":
                    bench_speed(Path(temporary), given.documents)
                case "growth":
                    bench_growth(Path(temporary), given.sizes)
                case _:
                    parser.error(f"no section {section!r}; there are speed and growth")


def against() -> DecontaminateParameters:
    """Every benchmark there is."""
    return DecontaminateParameters(
        against={
            name: BenchmarkFiles(
                format=format_, paths=tuple(map(str, sorted((DATA / "benchmarks").glob(pattern))))
            )
            for name, (format_, pattern) in leaks.FILES.items()
        }
    )


# speed
# --------------------------------------------------------------------------------------------------


def bench_speed(work: Path, count: int) -> None:
    """Print a line a system."""
    texts = real_lines(count)
    size = sum(len(text.encode()) for text in texts) / count
    tables.ROW_GROUP_DOCUMENTS = 1_000
    given = tables.documents(work, "web", [texts[: count // 2], texts[count // 2 :]])
    ceiling = count / best(lambda _: read_and_hash(given))
    print(f"{count:,} documents of {size:,.0f} bytes; documents a second of one core")
    print(
        f"  {'ceiling: read Parquet, hash every text':42} {ceiling:>10,.0f}   "
        f"{ceiling * size / 1e6:7,.1f} MB/s"
    )
    for stage, parameters in ((LINE_DEDUP, LineDedupParameters()), (DECONTAMINATE, against())):

        def build(number: int, stage: Any = stage, parameters: Any = parameters) -> Artifact:
            folder = work / f"{stage.name}-{number}"
            return run_stage(stage, parameters, {"documents": given}, "web", tmp_path=folder)

        spent = best(build)
        once = (
            best(lambda _: build_index(leaks.real_benchmarks(DATA), against()))
            if stage is DECONTAMINATE
            else 0.0
        )
        ours = count / (spent - once)
        line = (
            f"{ours:>10,.0f}   {ours * size / 1e6:7,.1f} MB/s, {ours / ceiling:.2f} of the ceiling"
        )
        print(
            f"  {stage.name:42} {line}{f'; its index, once a run: {once:.1f} s' if once else ''}",
            flush=True,
        )
        few = texts[: count // PEER_SHARE[stage.name]]
        theirs = peer(stage.name, few, work)
        line = (
            f"{theirs:>10,.0f}   {theirs * size / 1e6:7,.1f} MB/s; ours is {ours / theirs:,.1f} x"
        )
        print(f"  {f'{stage.name} by datatrove, {len(few):,} documents':42} {line}", flush=True)


def real_lines(count: int) -> list[str]:
    """Documents of real English lines, drawn anew for each; every tenth line is one of 50 menus and
    notices.
    """
    rng = random.Random(0)
    file = DATA / "web_en/fineweb-sample/fineweb_sample.txt"
    lines = [line.strip() for line in file.read_text("utf-8").split("\n") if 20 < len(line) < 600]
    menus = rng.sample(lines, MENUS)
    found = []
    for _ in range(count):
        own = "".join(rng.choices("abcdefghijklmnop", k=8))
        document: list[str] = []
        while sum(map(len, document)) < DOCUMENT_BYTES:
            document.append(
                rng.choice(menus) if rng.random() < 0.1 else f"{rng.choice(lines)} {own}"
            )
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


def read_and_hash(given: Artifact) -> None:
    """Read every text and hash it."""
    for name in given.files("part-"):
        file = pq.ParquetFile(given.path(name))
        for group in range(file.num_row_groups):
            for text in file.read_row_group(group, columns=["text"])["text"].to_pylist():
                hashlib.blake2b(text.encode(), digest_size=8).digest()


def peer(stage: str, texts: list[str], work: Path) -> float:
    """datatrove's documents a second of processor time."""
    if not PEERS.exists():
        raise SystemExit(f"{PEERS} is not there: make peers")
    folder = work / f"datatrove-{stage}"
    folder.mkdir()
    with (folder / "documents.jsonl").open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    with (folder / "items.jsonl").open("w", encoding="utf-8") as stream:
        for item in itertools.chain.from_iterable(leaks.real_benchmarks(DATA).values()):
            label = "" if item.answer is None else item.choices[item.answer]
            stream.write(json.dumps({"query": item.question, "label": label}) + "\n")
    words = [PEERS, Path(__file__).with_name("contamination_peers.py"), stage, folder]
    done = subprocess.run(list(map(str, words)), check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3_000:])
    return float(json.loads(done.stdout.splitlines()[-1]))


# growth
# --------------------------------------------------------------------------------------------------


def bench_growth(work: Path, exponents: list[int]) -> None:
    """Print a line a size and stage, with exponents between sizes."""
    before: dict[str, float] = {}
    for exponent in exponents:
        documents = 10**exponent
        found = inner(work, documents)
        for name, stage in found["stages"].items():
            growth = (
                f", exponent {math.log10(stage['wall_s'] / before[name]):.2f}"
                if name in before
                else ""
            )
            before[name] = stage["wall_s"]
            print(
                f"  {documents:>9,} {name:14} {stage['wall_s']:8.2f} s "
                f"{stage['wall_s'] / documents * 1e6:7.1f} us a document{growth}; peak "
                f"{stage['peak_MB']['heaviest']:,.0f} MB (parent "
                f"{stage['peak_MB']['parent']:,.0f}); {stage['shown']}",
                flush=True,
            )


def inner(work: Path, documents: int) -> dict[str, Any]:
    """`build_stages` in a fresh process."""
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--inner",
        str(documents),
        "--work",
        str(work),
    ]
    environment = {**os.environ, MARK: uuid.uuid4().hex}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3_000:])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def build_stages(work: Path, documents: int) -> dict[str, Any]:
    """Write and ingest the corpus, then build both stages with warm workers."""
    home = Path(tempfile.mkdtemp(dir=work))
    stages: dict[str, Any] = {}
    with start(EngineConfig(kind="processes", workers=WORKERS)) as engine:

        def build(stage: Any, parameters: Any, inputs: Any) -> Artifact:
            forget_peaks()
            started = time.perf_counter()
            artifact = run_stage(stage, parameters, inputs, "web", tmp_path=home, engine=engine)
            stages[stage.name] = {"wall_s": time.perf_counter() - started, "peak_MB": peak_memory()}
            return artifact

        folder = home / "corpus"
        folder.mkdir()
        paths = list(
            engine.map(write_corpus, [(folder, number, documents) for number in range(WORKERS)])
        )
        given = build(INGEST, ingest_parameters(paths), {})
        shutil.rmtree(folder)
        list(engine.map(warm_up, range(4 * WORKERS)))
        warm_up(0)
        lines = build(LINE_DEDUP, LineDedupParameters(), {"documents": given})
        hits = build(DECONTAMINATE, against(), {"documents": given, "line_dedup": lines})
    shutil.rmtree(home)
    stages[INGEST.name]["shown"] = f"{given.statistics['documents']:,} documents"
    shown = lines.statistics
    menus = max(entry["copies"] for entry in shown["most_repeated"])
    stages[LINE_DEDUP.name]["shown"] = (
        f"{shown['units_removed']:,} of {shown['units']:,} lines go; the most frequent stood "
        f"{menus:,} times"
    )
    planted = -(-documents // LEAK_EVERY)
    stages[DECONTAMINATE.name]["shown"] = (
        f"{hits.statistics['documents_hit']:,} of {planted:,} planted leaks found"
    )
    return {"stages": stages}


def write_corpus(task: tuple[Path, int, int]) -> str:
    """One of `WORKERS` JSONL files of the corpus; returns its path."""
    folder, number, documents = task
    path = folder / f"{number}.jsonl"
    low, high = (documents * edge // WORKERS for edge in (number, number + 1))
    with path.open("w", encoding="utf-8") as stream:
        for place, text in zip(range(low, high), generated(low, high), strict=True):
            stream.write(json.dumps({"id": str(place), "text": text}, ensure_ascii=False) + "\n")
    return str(path)


def generated(low: int, high: int) -> Iterator[str]:
    """Documents [low, high) of the corpus: a sentence a line, menus among them, now and then an
    item at the end.
    """
    corpus = Corpus()
    asked = list(itertools.chain.from_iterable(leaks.real_benchmarks(DATA).values()))
    menus = vocabulary()[-MENUS:]
    blocks = map(corpus.texts, range(low // BLOCK, -(-high // BLOCK)))
    texts = itertools.islice(
        itertools.chain.from_iterable(blocks), low % BLOCK, low % BLOCK + high - low
    )
    for number, text in enumerate(texts, low):
        rng = random.Random(number)
        lines = text.split(". ")
        for _ in range(MENUS_A_DOCUMENT):
            lines.insert(rng.randrange(len(lines) + 1), f"Menu: {rng.choice(menus)}")
        if number % LEAK_EVERY == LEAK_EVERY // 2:
            lines.append(
                leaks.as_printed(asked[number // LEAK_EVERY * 7_919 % len(asked)])
            )  # no item twice
        yield "\n".join(lines)


def forget_peaks() -> None:
    """Let the kernel count the peak memory of all marked processes anew."""
    for folder in marked():
        (folder / "clear_refs").write_text("5")


def warm_up(_: int) -> None:
    """Load in a worker what the stages need."""
    import tasks.decontaminate.run
    import tasks.line_dedup.run
    from tasks.line_dedup.units import units_of
    from tasks.text.shingles import Utf8
    from tasks.text.word_hashes import word_hashes

    units_of(Utf8.of([b"a b c"]), LineDedupParameters())
    word_hashes(["a b c"])
    del tasks
    time.sleep(0.2)


if __name__ == "__main__":
    main()
