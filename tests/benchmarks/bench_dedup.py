"""Deduplication: speed, growth and memory, beside datatrove, rensa and datasketch in the same run,
on two cores.

    python tests/benchmarks/bench_dedup.py                      all of it (half an hour; wants `make
                                                                peers`)
    python tests/benchmarks/bench_dedup.py signatures stages run growth          or some of it

signatures  documents a second of one core's processor time, text to signature: ours (with
            normalisation, exact hash and sorted shingle set), the peers, and a bare MinHash loop on
            ready shingles as the ceiling
stages      20,000 documents, two processes: stage functions signatures, cut, dedup, select against
            datatrove's four steps; planted pairs that each misses
run         the same through `puna run` on 100,000 documents from JSONL (ingest too), server running
            and server started
growth      10^4, 10^5, 10^6 documents: seconds of every stage, exponents, peak memory of the
            heaviest process, index

`--documents N` replaces the sizes of stages and run, `--sizes 4 5 6` growth's exponents; `--work
FOLDER` holds it all.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.dedup_corpus import Corpus, write_jsonl  # noqa: E402

HERE = Path(__file__).resolve().parent
PEERS = ROOT / "build" / "peers" / "bin" / "python"
WORKERS = 2
FILES = 2
"""JSONL files of a corpus: one for each of datatrove's workers, which is its best."""
MARK = "PUNA_BENCH_MARK"
VERIFY = 0.8


def main() -> None:
    """Run the sections that were asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sections", nargs="*", default=["signatures", "stages", "run", "growth"])
    parser.add_argument("--documents", type=int)
    parser.add_argument("--sizes", type=int, nargs="*", default=[4, 5, 6])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--inner", choices=["stages"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inner:
        print(json.dumps(build_stages(given.work, int(given.sections[0]), given.sections[1])))
        return
    with tempfile.TemporaryDirectory(dir=given.work) as temporary:
        work = Path(temporary)
        for section in given.sections:
            print(f"== {section}", flush=True)
            match section:
                case "signatures":
                    bench_signatures(work)
                case "stages":
                    bench_stages(work, given.documents or 20_000)
                case "run":
                    bench_run(work, given.documents or 100_000)
                case "growth":
                    bench_growth(work, given.sizes)
                case _:
                    parser.error(
                        f"no section {section!r}; there are signatures, stages, run, growth"
                    )


# signatures
# --------------------------------------------------------------------------------------------------


def bench_signatures(work: Path, documents: int = 4_000) -> None:
    """Print documents a second and ratios."""
    import pyarrow as pa

    from tasks.signatures.minhash import coefficients, minhash
    from tasks.signatures.run import sign
    from tasks.signatures.stage import SignaturesParameters
    from tasks.text.shingles import shingle

    (path,) = write_jsonl(work / "signatures", documents, 1)
    texts = [text for block in Corpus().blocks(documents) for text in block]
    table = pa.table({"text": texts})
    batch = shingle(texts, 5)
    a, b = coefficients(112, 1)
    ours = documents / best_of(5, lambda: sign(SignaturesParameters(), table))
    ceiling = documents / best_of(5, lambda: minhash(batch.hashes, batch.offsets, a, b))
    size = sum(len(text.encode()) for text in texts) / documents
    print(f"documents of {size:,.0f} bytes; documents a second of one core")
    print(f"  {'ours, text to all columns':45} {ours:>10,.0f}   {ours * size / 1e6:,.0f} MB/s")
    print(
        f"  {'bare MinHash loop on ready shingles':45} {ceiling:>10,.0f}   ours is "
        f"{ours / ceiling:.2f} of it"
    )
    for name, rate in peer("signatures", path, documents).items():
        print(f"  {name:45} {rate:>10,.0f}   ours is {ours / rate:,.1f} x")


def best_of(rounds: int, work: Any) -> float:
    """Least seconds of this process's processor time over some rounds, after one that warms up."""
    work()
    seconds = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def peer(*words: object) -> dict[str, Any]:
    """What dedup_peers.py says."""
    if not PEERS.exists():
        raise SystemExit(f"{PEERS} is not there: make peers")
    command = [str(PEERS), str(HERE / "dedup_peers.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3_000:])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


# stages
# --------------------------------------------------------------------------------------------------


def bench_stages(work: Path, documents: int) -> None:
    """Print ours cold and warm, datatrove, and what each missed."""
    folder = work / f"corpus-{documents}"
    write_jsonl(folder, documents, FILES)
    theirs = datatrove(folder, work, documents)
    for state in ("of a new installation", "cold", "warm"):
        ours = inner(work, documents, state)
        stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in ours["stages"].items())
        print(
            f"  ours, engine {state}: {ours['wall_s']:.2f} s wall, {ours['processor_s']:.2f} s "
            f"processor ({stages}); {sum(theirs['seconds']) / ours['wall_s']:.1f} x datatrove, by "
            f"processor time {theirs['processor_s'] / ours['processor_s']:.1f} x; "
            f"{report(ours['kept'], documents)}",
            flush=True,
        )


def datatrove(folder: Path, work: Path, documents: int) -> dict[str, Any]:
    """Its four steps on a folder of JSONL; prints and returns what they took."""
    theirs = peer("dedup", folder, work / f"datatrove-{documents}", FILES, WORKERS)
    steps = " + ".join(f"{seconds:.1f}" for seconds in theirs["seconds"])
    print(
        f"  datatrove: {sum(theirs['seconds']):.1f} s wall ({steps}), {theirs['processor_s']:.1f} "
        f"s processor, peak {theirs['peak_MB']:,.0f} MB; {report(theirs['kept'], documents)}",
        flush=True,
    )
    shutil.rmtree(work / f"datatrove-{documents}")
    return theirs


def inner(work: Path, documents: int, state: str) -> dict[str, Any]:
    """`build_stages` in a fresh process; a new installation has no compiled loops yet."""
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--inner",
        "stages",
        "--work",
        str(work),
    ]
    environment = {**os.environ, MARK: uuid.uuid4().hex}
    if state == "of a new installation":
        environment["XDG_CACHE_HOME"] = tempfile.mkdtemp(dir=work)
    done = subprocess.run(
        [*command, str(documents), state],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3_000:])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def build_stages(work: Path, documents: int, state: str) -> dict[str, Any]:
    """Ingest the corpus, then build signatures to select with worker processes, and time the
    latter.
    """
    from infra.engine import EngineConfig, start
    from tests.stage_harness import run_stage

    store = Path(tempfile.mkdtemp(dir=work))
    workers = EngineConfig(kind="processes", workers=WORKERS)
    ingest, signatures, cut, dedup, select = recipe_stages()
    paths = sorted(map(str, (work / f"corpus-{documents}").glob("*.jsonl")))
    seconds: dict[str, float] = {}

    def build(stage: Any, parameters: Any, inputs: Any, name: str, engine: Any) -> Any:
        started = time.perf_counter()
        artifact = run_stage(stage, parameters, inputs, name, tmp_path=store, engine=engine)
        seconds[stage.name] = time.perf_counter() - started
        return artifact

    with start(workers if state == "warm" else EngineConfig(kind="inline")) as engine:
        given = build(ingest, ingest_parameters(paths), {}, "web", engine)
    started = time.perf_counter()
    with start(workers) as engine:
        if state == "warm":
            list(engine.map(warm_up, range(4 * WORKERS)))
            warm_up(0)
            started = time.perf_counter()
        before = processor_seconds()
        texts = {"documents": given}
        signed = build(signatures, parameters_of(signatures), texts, "web", engine)
        passed = build(cut, cut_parameters(), texts, "main", engine)
        inputs = {"cut": passed, "documents": given, "signatures": signed}
        removed = build(dedup, parameters_of(dedup), inputs, "main", engine)
        selected = build(select, parameters_of(select), {**inputs, "dedup": removed}, "web", engine)
        wall = time.perf_counter() - started
        processor = processor_seconds() - before
        peak = peak_memory()
    ingested = seconds.pop("ingest")
    result = {
        "stages": seconds,
        "ingest_s": ingested,
        "wall_s": wall,
        "processor_s": processor,
        "peak_MB": peak,
        "index": selected.statistics.get("index"),
        "kept": list(survivors(selected, given)),
    }
    shutil.rmtree(store)
    return result


def recipe_stages() -> tuple[Any, ...]:
    """The five stages."""
    from tasks.cut.stage import STAGE as CUT
    from tasks.dedup.stage import STAGE as DEDUP
    from tasks.ingest.stage import STAGE as INGEST
    from tasks.select.stage import STAGE as SELECT
    from tasks.signatures.stage import STAGE as SIGNATURES

    return INGEST, SIGNATURES, CUT, DEDUP, SELECT


def parameters_of(stage: Any) -> Any:
    """The defaults of a stage; dedup by length, since there is no perplexity here."""
    return stage.parameters(prefer=("length",)) if stage.name == "dedup" else stage.parameters()


def ingest_parameters(paths: list[str]) -> Any:
    """Read JSONL."""
    from tasks.ingest.stage import IngestParameters

    return IngestParameters(format="jsonl", paths=paths)  # type: ignore[arg-type]


def cut_parameters() -> Any:
    """All documents are of one category."""
    from tasks.cut.stage import CutParameters, SourceCut

    return CutParameters(sources={"web": SourceCut(category="web")})


def warm_up(_: int) -> None:
    """Load in a worker what the stages need."""
    import tasks.cut.run
    import tasks.dedup.run
    import tasks.select.run
    import tasks.signatures.run
    from tasks.text.shingles import shingle

    shingle(["a b c"], 1)
    del tasks
    time.sleep(0.2)


def survivors(selected: Any, documents: Any) -> Iterator[int]:
    """Numbers in the corpus of the documents that stay: the order of the lines of its files."""
    import pyarrow.parquet as pq

    numbers: dict[str, int] = {}
    for name in documents.files("part-"):
        for id_ in pq.read_table(documents.path(name), columns=["id"])["id"].to_pylist():
            numbers[id_] = len(numbers)
    for name in selected.files():
        if name.endswith(".jsonl"):
            with selected.path(name).open(encoding="utf-8") as stream:
                yield from (numbers[json.loads(line)["id"]] for line in stream)


def report(kept: list[int], documents: int) -> str:
    """How many documents went, and how many planted pairs at or above `VERIFY` both stay."""
    staying = set(kept)
    pairs = [pair for pair in planted(documents) if pair[2] >= VERIFY]
    missed = sum(original in staying and copy in staying for original, copy, _ in pairs)
    return f"{documents - len(staying):,} removed, {missed} of {len(pairs):,} planted pairs missed"


def planted(documents: int) -> Iterator[tuple[int, int, float]]:
    """(original, copy, true Jaccard similarity of their 5-word shingles) of every planted pair."""
    from tests.benchmarks.dedup_corpus import BLOCK

    corpus = Corpus()
    for block in range(math.ceil(documents / BLOCK)):
        words = corpus.word_numbers(block)
        for pair in corpus.pairs(block):
            if pair.copy < documents:
                one, other = (
                    shingles(words[number - block * BLOCK]) for number in (pair.original, pair.copy)
                )
                yield pair.original, pair.copy, len(one & other) / len(one | other)


def shingles(words: Any) -> set[tuple[int, ...]]:
    """5-word shingles of a row of word numbers."""
    values = words.tolist()
    return set(zip(*(values[start:] for start in range(5)), strict=False))


def marked() -> Iterator[Path]:
    """/proc folders of this process and those it started."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                yield folder
        except OSError:
            continue


def processor_seconds() -> float:
    """Processor time that the living marked processes have spent."""
    ticks = 0
    for folder in marked():
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_memory() -> dict[str, float]:
    """MB of the heaviest marked process so far, and of this one."""
    peaks = []
    for folder in marked():
        status = dict(
            line.split(":", 1)
            for line in (folder / "status").read_text().splitlines()
            if ":" in line
        )
        peaks.append(int(status["VmHWM"].split()[0]) / 1024)
    return {
        "heaviest": max(peaks),
        "parent": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


# run
# --------------------------------------------------------------------------------------------------

RECIPE = """
name: bench
sources:
  web:
    ingest: {{format: jsonl, paths: ["{folder}/*.jsonl"]}}
    category: web
dedup: {{prefer: [length]}}
engine: {{kind: processes, workers: {workers}}}
"""


def bench_run(work: Path, documents: int, limit_s: float = 480) -> None:
    """Print `puna run` with its server running and not, and datatrove on the same files."""
    folder = work / f"corpus-{documents}"
    write_jsonl(folder, documents, FILES)
    recipe = work / "bench.yaml"
    recipe.write_text(RECIPE.format(folder=folder, workers=WORKERS))
    home = work / "home"
    home.mkdir()
    kept_out = ("PREFECT_", "PUNA_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(kept_out)}
    environment |= {
        "PREFECT_HOME": str(home / "prefect"),
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
    }
    seconds = {}
    try:
        for state in (
            "first run ever, its server started too",
            "server started too",
            "server running",
        ):
            if state == "server started too":
                puna(environment, "dashboard", "stop")
            store = work / "store"
            started = time.perf_counter()
            result = puna(
                environment, "run", recipe, "--store", store, "--until", "select/web", "--json"
            )
            seconds[state] = time.perf_counter() - started
            built = {stage["stage"]: stage.get("seconds") for stage in json.loads(result)["stages"]}
            print(f"  puna run, {state}: {seconds[state]:.1f} s wall; stages {built}", flush=True)
            shutil.rmtree(store)
    finally:
        puna(environment, "dashboard", "stop")
    if documents > 20_000:
        small = work / "corpus-20000"
        write_jsonl(small, 20_000, FILES)
        theirs = sum(datatrove(small, work, 20_000)["seconds"]) * documents / 20_000
        print(f"  datatrove on {documents:,} documents, by proportion from 20,000: {theirs:.0f} s")
    if documents <= 20_000 or theirs < limit_s:
        theirs = sum(datatrove(folder, work, documents)["seconds"])
    for state, spent in seconds.items():
        print(f"  {state}: {theirs / spent:.1f} x datatrove")


def puna(environment: Mapping[str, str], *words: object) -> str:
    """Run the command; its stdout."""
    command = [str(Path(sys.executable).with_name("puna")), *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{words}: {done.stdout[-1_000:]}{done.stderr[-3_000:]}")
    return done.stdout


# growth
# --------------------------------------------------------------------------------------------------


def bench_growth(work: Path, exponents: list[int]) -> None:
    """Print a line a size, and exponents between sizes."""
    before: dict[str, float] = {}
    for exponent in exponents:
        documents = 10**exponent
        folder = work / f"corpus-{documents}"
        if not folder.exists():
            write_jsonl(folder, documents, FILES)
        found = inner(work, documents, "warm")
        shutil.rmtree(folder)
        seconds = {
            "ingest": found["ingest_s"],
            **found["stages"],
            "signatures to select": found["wall_s"],
        }
        for name, spent in seconds.items():
            growth = f", exponent {math.log10(spent / before[name]):.2f}" if name in before else ""
            print(
                f"  {documents:>9,} {name:22} {spent:8.2f} s {spent / documents * 1e6:8.1f} us a "
                f"document{growth}"
            )
        index = found["index"] or {}
        peak = found["peak_MB"]
        print(
            f"  {documents:>9,} peak {peak['heaviest']:,.0f} MB (parent {peak['parent']:,.0f}); "
            f"index {index.get('bytes_per_document')} bytes a document; "
            f"{report(found['kept'], documents)}",
            flush=True,
        )
        before = seconds


if __name__ == "__main__":
    main()
