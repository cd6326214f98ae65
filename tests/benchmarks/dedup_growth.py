"""Deduplication from 10^3 to 10^7 documents on two cores: predicted beside measured.

    python tests/benchmarks/dedup_growth.py [--sizes 3 4 5 6 7] [--memory 400M] [--work FOLDER]
                                            [--results FILE.json] [--picture FILE.svg]

Documents are generated signatures (`signature_corpus.py`), so that 10^7 of them need a few GB of
disk and not 50. Of every size: seconds of wall-clock and processor time of the stage `dedup` with
two warm worker processes, those of the one process that is not parallel, and the most memory that
all its processes hold together (pages that they share count once, pages of files not). Predicted:
what `puna plan --scale two-cores` says of so many documents, from costs measured on other documents
(`unit_costs.py`). `--results` adds to a file; `--picture` draws what that holds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from infra.engine import EngineConfig, start  # noqa: E402
from infra.quantities import parse_bytes  # noqa: E402
from infra.store import Artifact  # noqa: E402
from tasks.dedup.stage import STAGE as DEDUP  # noqa: E402
from tasks.dedup.stage import DedupParameters  # noqa: E402
from tests.benchmarks.signature_corpus import (  # noqa: E402
    CorpusParameters,
    SigningParameters,
    stages,
)
from tests.stage_harness import run_stage  # noqa: E402

WORKERS = 2
EVERY_S = 0.5
"""Between two looks at memory."""


class Watch(threading.Thread):
    """The most memory that this process and its descendants hold together."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.heaviest = 0.0, 0.0
        self.spent: dict[int, float] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        """Look until told to end."""
        while not self.ended.wait(EVERY_S):
            self.look()

    def look(self) -> None:
        """Anonymous and shared memory of all processes; mapped files can be dropped any time."""
        processes = family(os.getpid())
        self.spent |= {pid: spent for pid in processes if (spent := processor(pid)) is not None}
        held = [memory(pid) for pid in processes]
        self.most = max(self.most, sum(held))
        self.heaviest = max([self.heaviest, *held])


def processor(pid: int) -> float | None:
    """Seconds of processor time of a process; None for one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Proportional set size of a process without pages of files, bytes; 0 for one that is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    sizes = dict(line.split(":", 1) for line in text.splitlines()[1:])
    names = [name for name in ("Pss_Anon", "Pss_Shmem") if name in sizes]
    return sum(float(sizes[name].split()[0]) * 1024 for name in names)


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def generate(documents: int, work: Path) -> dict[str, Artifact]:
    """What dedup reads, in the store below `work`; what is there already stays."""
    ingest, signatures, cut = stages()
    corpus = CorpusParameters(documents=documents)
    with start(EngineConfig(kind="processes", workers=WORKERS)) as engine:
        given: dict[str, Artifact] = {}
        for role, stage, parameters, name in (
            ("documents", ingest, corpus, "web"),
            ("signatures", signatures, SigningParameters(documents=documents), "web"),
            ("cut", cut, corpus, "main"),
        ):
            given[role] = run_stage(stage, parameters, {}, name, tmp_path=work, engine=engine)
    return given


def measure(documents: int, work: Path, memory_bytes: int) -> dict[str, Any]:
    """Generate so many and deduplicate them."""
    began = time.perf_counter()
    given = generate(documents, work)
    generated = time.perf_counter() - began
    inputs = sum(o.bytes for artifact in given.values() for o in artifact.manifest.outputs)
    parameters = DedupParameters(prefer=("length",), memory=memory_bytes)
    watch = Watch()
    with start(EngineConfig(kind="processes", workers=WORKERS)) as engine:
        list(engine.map(loaded, range(4 * WORKERS)))
        loaded(0)
        watch.look()
        before = dict(watch.spent)
        watch.start()
        started, mine = time.perf_counter(), time.process_time()
        made = run_stage(DEDUP, parameters, given, "main", tmp_path=work, engine=engine)
        wall, one = time.perf_counter() - started, time.process_time() - mine
        watch.ended.set()
        watch.join()
        watch.look()
    processor_s = sum(watch.spent.values()) - sum(before.values())
    statistics = made.statistics
    return {
        "documents": documents,
        "generated_s": round(generated, 1),
        "inputs_bytes": inputs,
        "wall_s": round(wall, 2),
        "processor_s": round(processor_s, 2),
        "one_process_s": round(one, 2),
        "memory_bytes": round(watch.most),
        "heaviest_bytes": round(watch.heaviest),
        "kept": statistics["kept"],
        "exact": statistics["exact"],
        "near": statistics["near"],
        "candidates": statistics["candidate_documents"],
        "load": round(os.getloadavg()[0], 1),
    }


def loaded(_: int) -> None:
    """Compile and import in a worker what the stage needs."""
    import tasks.dedup.run

    del tasks
    time.sleep(0.2)


def predicted(documents: int, candidates: float) -> dict[str, float]:
    """Seconds of processor, wall-clock and one process that a plan predicts on two cores."""
    from flows.planning.scale.cluster import read_cluster
    from flows.planning.scale.costs import read_costs
    from flows.planning.scale.grouping import grouping
    from flows.planning.scale.walls import wall
    from flows.planning.scale.works import Work

    costs, cluster = read_costs(), read_cluster("two-cores")
    cost = costs.stages["dedup"]
    parts = max(1, round(documents / 50_000))
    work = Work(
        "dedup/main",
        "dedup",
        documents,
        0.0,
        documents,
        max(parts, WORKERS),
        cost.seconds(documents, 0.0),
        cost.worker_bytes,
        cost.origin,
        fixed_s=cost.fixed_s,
        one_process_s=documents * cost.one_process_us / 1e6
        + parts * cost.one_process_part_ms / 1e3,
        one_process_bytes=documents * cost.one_process_bytes,
    )
    grouped = grouping(documents, parts, candidates, 400e6, WORKERS, 14, 8, 1)
    found = wall(work, cluster, costs.network, 10, grouped)
    return {
        "predicted_processor_s": round(
            work.core_s + work.one_process_s + WORKERS * work.fixed_s, 2
        ),
        "predicted_wall_s": round(found.seconds, 2),
        "predicted_one_process_s": round(found.one_process, 2),
    }


def line(row: dict[str, Any], before: dict[str, Any] | None) -> str:
    """A row of the table in docs/scaling.md."""
    growth = ""
    if before is not None:
        sizes = math.log(row["documents"] / before["documents"])
        growth = f"{math.log(row['processor_s'] / before['processor_s']) / sizes:.2f}"
    error = row["processor_s"] / row["predicted_processor_s"]
    return (
        f"| {row['documents']:,} | {row['predicted_processor_s']:,.1f} | {row['processor_s']:,.1f} "
        f"| {error:.2f} | {growth} | {row['predicted_wall_s']:,.1f} | {row['wall_s']:,.1f} | "
        f"{row['one_process_s']:,.1f} | {row['memory_bytes'] / 1e6:,.0f} MB | {row['load']} |"
    )


def main() -> None:
    """Measure the sizes that were asked for, then print all that the results hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="*", default=[3, 4, 5, 6, 7])
    parser.add_argument("--memory", type=parse_bytes, default=400_000_000)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument(
        "--generate", action="store_true", help="only that, in --work, where a later run finds it"
    )
    given = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    if given.results is not None and given.results.exists():
        rows = json.loads(given.results.read_text())
    for exponent in given.sizes:
        ready = given.work / f"10^{exponent}" if given.work is not None else None
        if given.generate and ready is not None:
            ready.mkdir(parents=True, exist_ok=True)
            generate(10**exponent, ready)
            continue
        folder = ready if ready is not None and ready.exists() else Path(tempfile.mkdtemp())
        try:
            row = measure(10**exponent, folder, given.memory)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        rows[str(exponent)] = row
        print(json.dumps(row), flush=True)
        if given.results is not None:
            given.results.write_text(json.dumps(rows, indent=1) + "\n")
    before = None
    for exponent in sorted(rows, key=int):
        row = rows[exponent]
        row |= predicted(row["documents"], row["candidates"])
        print(line(row, before))
        before = row
    if given.picture is not None:
        draw(list(rows.values()), given.picture)


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Processor time and memory over documents, predicted and measured."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "puna"
    import matplotlib.pyplot as plt

    rows = sorted(rows, key=lambda row: row["documents"])
    documents = [row["documents"] for row in rows]
    figure, (time_, space) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    time_.loglog(
        documents, [r["predicted_processor_s"] for r in rows], "--", label="processor, predicted"
    )
    time_.loglog(documents, [r["processor_s"] for r in rows], "o-", label="processor, measured")
    time_.loglog(documents, [r["wall_s"] for r in rows], "s:", label="wall clock, busy machine")
    time_.set(xlabel="documents", ylabel="seconds", title="Deduplication, two cores")
    time_.legend(frameon=False)
    space.semilogx(documents, [r["memory_bytes"] / 1e6 for r in rows], "o-", label="measured")
    space.axhline(1000, linestyle="--", label="limit of this test, 1 GB")
    space.set(xlabel="documents", ylabel="MB, all processes", title="Memory", ylim=(0, 1100))
    space.legend(frameon=False, loc="lower right")
    for axes in (time_, space):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
