"""Engines: what a shard costs beyond its work, and what a second worker brings.

    python tests/benchmarks/bench_engines.py [--overhead]

1. Overhead: a stage of 400 shards that each write one line, on inline, processes and Ray with one
   and two workers; and the same shards' writes in a plain loop, for what the disk takes.
2. Language ID, perplexity and signatures of the same documents with one worker and with two.
   Workers have done the stage once before, so that models are loaded; then the median of three
   runs. The processor time that other programs take from this machine meanwhile is shown, as it
   bounds the ratio.

Text is made up; `--overhead` leaves the second table out.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from infra.engine import EngineConfig, start
from infra.engine.base import Engine
from infra.stage import Parameters, Stage
from infra.store import Artifact, Shard
from tasks.langid.model import locate_model
from tasks.langid.stage import STAGE as LANGID
from tasks.langid.stage import LangidParameters
from tasks.language_model.stage import STAGE as LANGUAGE_MODEL
from tasks.language_model.stage import LanguageModelParameters
from tasks.perplexity.stage import STAGE as PERPLEXITY
from tasks.perplexity.stage import PerplexityParameters
from tasks.signatures.stage import STAGE as SIGNATURES
from tasks.signatures.stage import SignaturesParameters
from tests.stage_harness import pin, run_stage
from tests.tables import artifact, documents
from tests.tasks.language_model.corpora import made_up
from tests.toy import TOY, ToyParameters

SHARDS = 400
PARTS, DOCUMENTS, WORDS = 32, 500, 400
TURNS = 3
ENGINES = {
    "inline": EngineConfig(kind="inline"),
    "processes, 1 worker": EngineConfig(kind="processes", workers=1),
    "processes, 2 workers": EngineConfig(kind="processes", workers=2),
    "Ray, 1 worker": EngineConfig(kind="ray", workers=1),
    "Ray, 2 workers": EngineConfig(kind="ray", workers=2),
}


def overhead() -> None:
    """Print the first table."""
    print(f"load {load():.1f} on {psutil.cpu_count()} processors; {SHARDS} shards of one line")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = timed(lambda: written(folder / "raw")) / SHARDS
        print(f"{'plain loop of the same writes':30} {raw * 1e3:7.2f} ms a shard")
        for label, config in ENGINES.items():
            began = time.perf_counter()
            with start(config) as engine:
                list(engine.map(len, ["", ""]))
                ready = time.perf_counter() - began
                empty = timed(lambda e=engine: list(e.map(len, [""] * 1_000))) / 1_000
                work = folder / label.replace(" ", "-").replace(",", "")
                took = timed(lambda e=engine, w=work: shards(e, w)) / SHARDS
                closing = time.perf_counter()
            closed = time.perf_counter() - closing
            print(
                f"{label:30} {took * 1e3:7.2f} ms a shard, {empty * 1e3:6.2f} ms a call of "
                f"nothing, first result after {ready:.1f} s, end {closed:.1f} s"
            )


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def shards(engine: Engine, folder: Path) -> Artifact:
    return run_stage(TOY, ToyParameters(shards=SHARDS), tmp_path=folder, engine=engine)


def written(folder: Path) -> None:
    """What the shards of `TOY` write: a file of one line, and a completion record, both created
    exclusively.
    """
    from infra.store.backends import open_directory

    home = open_directory(str(folder))
    for number in range(SHARDS):
        shard = Shard(f"part-{number:05d}", home.child("data"))
        with shard.create(f"{shard.key}.txt") as path:
            path.write_text(f"toy {number}\n")
        home.child("shards").create(f"{shard.key}.json", b"{}" * 60)


def load() -> float:
    return psutil.getloadavg()[0]


@contextmanager
def others() -> Iterator[dict[str, float]]:
    """Share of this machine's processors that other programs take within the block."""
    found: dict[str, float] = {}
    whole, ours = psutil.cpu_times(), family_s()
    yield found
    after = psutil.cpu_times()
    total = sum(after) - sum(whole)
    busy = total - (after.idle - whole.idle) - (after.iowait - whole.iowait)
    found["share"] = max(busy - (family_s() - ours), 0) / max(total, 1e-9)


def family_s() -> float:
    """Processor seconds of this process, its children and Ray's workers."""
    seconds = 0.0
    for process in psutil.process_iter():
        try:
            name = " ".join(process.cmdline())
            ours = process.pid == psutil.Process().pid or "ray::" in name or "forkserver" in name
            if ours:
                times = process.cpu_times()
                seconds += times.user + times.system + times.children_user
        except psutil.Error:
            continue
    return seconds


def scaling() -> None:
    """Print the second table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stages = prepared(folder)
        print(f"\n{PARTS} parts of {DOCUMENTS} documents of {WORDS} words")
        print(f"{'stage':12} {'engine':10} {'1 worker':>9} {'2 workers':>10} {'ratio':>6}  others")
        for kind in ("processes", "ray"):
            seconds: dict[tuple[str, int], float] = {}
            shares: dict[str, list[float]] = {stage.name: [] for stage, *_ in stages}
            digests: dict[str, set[str]] = {stage.name: set() for stage, *_ in stages}
            for workers in (1, 2):
                with start(EngineConfig(kind=kind, workers=workers)) as engine:
                    for stage, parameters, inputs, options in stages:
                        took = []
                        for turn in range(TURNS + 1):
                            place = folder / f"{kind}-{workers}-{stage.name}-{turn}"
                            with others() as taken:
                                began = time.perf_counter()
                                made = run_stage(
                                    stage,
                                    parameters,
                                    inputs,
                                    "web",
                                    tmp_path=place,
                                    engine=engine,
                                    **options,
                                )
                                took.append(time.perf_counter() - began)
                        seconds[stage.name, workers] = statistics.median(took[1:])
                        shares[stage.name].append(taken["share"])
                        digests[stage.name].add(made.digest)
            for stage, *_ in stages:
                one, two = seconds[stage.name, 1], seconds[stage.name, 2]
                assert len(digests[stage.name]) == 1
                taken_by_others = " and ".join(f"{share:.0%}" for share in shares[stage.name])
                print(
                    f"{stage.name:12} {kind:10} {one:8.1f}s {two:9.1f}s {one / two:6.2f}  "
                    f"{taken_by_others}"
                )


def prepared(folder: Path) -> list[tuple[Stage, Parameters, dict[str, Any], dict[str, Any]]]:
    """Stages with their parameters, inputs and pins."""
    rng = random.Random(5)
    words = [word for text in made_up(400, seed=3) for word in text.split()]
    texts = [
        [" ".join(rng.choices(words, k=WORDS)) for _ in range(DOCUMENTS)] for _ in range(PARTS)
    ]
    web = documents(folder, "web", texts)
    reference = documents(folder, "reference", [made_up(300)])
    model = run_stage(
        LANGUAGE_MODEL,
        LanguageModelParameters(language="xx", order=4, vocabulary=120),
        {"documents": reference},
        "xx",
        tmp_path=folder,
    )
    columns = {
        f"part-{number:05d}.parquet": pa.table({"language": pa.array(["xx"] * DOCUMENTS)})
        for number in range(PARTS)
    }
    languages = artifact(folder, "langid", "web", columns)
    lid = {"pins": {"model": (pin(Path(locate_model("lid.176"))),)}}
    scored = {"documents": web, "langid": languages, "models": [model]}
    return [
        (LANGID, LangidParameters(), {"documents": web}, lid),
        (PERPLEXITY, PerplexityParameters(), scored, {}),
        (SIGNATURES, SignaturesParameters(), {"documents": web}, {}),
    ]


if __name__ == "__main__":
    overhead()
    if "--overhead" not in sys.argv[1:]:
        scaling()
