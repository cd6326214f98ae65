"""Pairs of near vectors: time, memory and recall of stage neighbours, to 10^6 vectors.

    python tests/benchmarks/bench_semantic.py [--sizes 10000 100000] [--dimensions 384]
                                               [--without-peers]

Vectors are generated: topics of topics, so that clusters have neighbours, and one document in ten a
changed copy of another, at a cosine of 0.8 to 1. In the same run, on one thread:

    ceiling      how fast this machine multiplies such matrices at all, and how long the products of
                 the stage would take at that rate
    brute force  all vectors against 1,000 of them, by NumPy: what the pairs of these are (recall),
                 and how long all against all would take
    faiss        IVFFlat with as many clusters and probes, range_search of the same 1,000, where it
                 is installed (make peers): training, adding, and all queries in proportion
    scikit-learn MiniBatchKMeans with as many clusters on as many samples: seconds, and the recall
                 of the same search with its centroids' clusters
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path += [str(path) for path in (ROOT / "build/peers/lib").glob("python*/site-packages")]

from infra.engine import EngineConfig, start  # noqa: E402
from infra.one_thread import one_thread  # noqa: E402
from infra.store import Artifact  # noqa: E402
from tasks.documents.keep import ScoreKeep  # noqa: E402
from tasks.documents.vectors import to_column  # noqa: E402
from tasks.duplicates.agreement import SIGNING  # noqa: E402
from tasks.neighbours.clusters import SAMPLE_PER_CLUSTER, count_for, nearest, train  # noqa: E402
from tasks.neighbours.stage import STAGE as NEIGHBOURS  # noqa: E402
from tasks.neighbours.stage import NeighboursParameters  # noqa: E402
from tasks.semantic.stage import STAGE as SEMANTIC  # noqa: E402
from tasks.semantic.stage import SemanticParameters  # noqa: E402
from tests.benchmarks.dedup_growth import Watch  # noqa: E402
from tests.stage_harness import run_stage  # noqa: E402
from tests.tables import artifact  # noqa: E402

QUERIES = 1_000
PART_ROWS = 25_000
FLOOR = 0.85
FLOORS = (0.85, 0.9, 0.95)


def vectors_of(count: int, dimensions: int, seed: int = 1) -> np.ndarray[Any, Any]:
    """Unit vectors in float16, see the module's docstring."""
    rng = np.random.default_rng(seed)
    fields = rng.standard_normal((50, dimensions), np.float32)
    topics = fields[rng.integers(0, 50, 2_000)]
    topics += 0.8 * rng.standard_normal(topics.shape, np.float32)
    found = np.empty((count, dimensions), np.float16)
    for first in range(0, count, PART_ROWS):
        size = min(PART_ROWS, count - first)
        block = topics[rng.integers(0, len(topics), size)]
        block = block + 1.2 * rng.standard_normal(block.shape, np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        copies = rng.choice(size, size // 10, replace=False)
        origin = rng.integers(0, size, len(copies))
        cosine = rng.uniform(0.8, 1, (len(copies), 1)).astype(np.float32)
        noise = rng.standard_normal((len(copies), dimensions), np.float32)
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        block[copies] = cosine * block[origin] + np.sqrt(1 - cosine**2) * noise
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        found[first : first + size] = block
    return found


def inputs_of(folder: Path, vectors: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Artifacts of the stages before, with nothing in them but what the two stages read."""
    documents, cut, fates, signed, embedded = ({} for _ in range(5))
    for number, first in enumerate(range(0, len(vectors), PART_ROWS)):
        part = vectors[first : first + PART_ROWS]
        rows, name = len(part), f"part-{number:05d}.parquet"
        none = pa.nulls(rows, pa.string())
        ids = pa.array([f"{(first + row) * 2654435761 % 2**64:032x}" for row in range(rows)])
        text = pa.array([f"document {first + row}" for row in range(rows)])
        documents[name] = pa.table({"id": ids, "text": text, "prompt": pa.array([""] * rows)})
        language = pa.array(["en"] * rows)
        cut[f"web/{name}"] = pa.table({"reason": none, "language": language, "category": language})
        fates[f"web/{name}"] = pa.table({"duplicate_of": none, "kind": none})
        signed[name] = pa.table({"length": pa.array(np.full(rows, 2_500))})
        embedded[name] = pa.table({"vector": to_column(part, np.ones(rows, np.bool_))})
    made = {"model": "generated", "fingerprint": "g", "dimensions": vectors.shape[1], "version": 1}
    options = {"row_group_size": 1_000}
    signatures = artifact(folder, "signatures", "web", signed, **options)
    signatures.manifest.data["stage_version"] = 3
    signatures.manifest.data["parameters"] = dict.fromkeys(SIGNING, 1)
    return {
        "documents": [artifact(folder, "ingest", "web", documents, **options)],
        "cut": artifact(folder, "cut", "main", cut, **options),
        "dedup": artifact(folder, "dedup", "main", fates, **options),
        "signatures": [signatures],
        "embeddings": [
            artifact(folder, "embeddings", "web", embedded, {"vectors": made}, **options)
        ],
    }


def measured(stage: Any, parameters: Any, inputs: Any, folder: Path, engine: Any) -> Artifact:
    """Run a stage; prints seconds and the most memory of all processes."""
    roles = [role.name for role in stage.inputs]
    chosen = {name: found for name, found in inputs.items() if name in roles}
    watch = Watch()
    watch.look()
    before = dict(watch.spent)
    watch.start()
    begun = time.perf_counter()
    made = run_stage(stage, parameters, chosen, tmp_path=folder, engine=engine)
    seconds = time.perf_counter() - begun
    watch.look()
    watch.ended.set()
    watch.join()
    spent = sum(watch.spent.values()) - sum(before.values())
    print(
        f"  {stage.name}: {seconds:.1f} s, {spent:.1f} s of processors, "
        f"{watch.most / 1e6:,.0f} MB in all processes",
        flush=True,
    )
    return made


def found_pairs(made: Artifact) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(pairs as one number each, their cosines)."""
    keys, cosines = [np.empty(0, np.uint64)], [np.empty(0, np.float32)]
    for name in made.files("pairs/"):
        table = pq.read_table(made.path(name))
        first = table["first"].to_numpy().astype(np.uint64)
        keys.append(first << np.uint64(32) | table["second"].to_numpy().astype(np.uint64))
        cosines.append(table["similarity"].to_numpy())
    return np.concatenate(keys), np.concatenate(cosines)


def brute_force(
    vectors: np.ndarray[Any, Any], queries: np.ndarray[Any, Any]
) -> tuple[dict[float, set[int]], float]:
    """Floor -> the pairs of the queries, and the seconds that it took."""
    begun = time.perf_counter()
    pairs: dict[float, set[int]] = {floor: set() for floor in FLOORS}
    asked = vectors[queries].astype(np.float32)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    with one_thread():
        for first in range(0, len(vectors), PART_ROWS):
            block = vectors[first : first + PART_ROWS].astype(np.float32)
            block /= np.linalg.norm(block, axis=1, keepdims=True)
            rows, columns = np.nonzero((cosines := asked @ block.T) >= FLOORS[0])
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
                one, other = sorted((int(queries[row]), column + first))
                for floor in FLOORS:
                    if one != other and cosines[row, column] >= floor + 1e-6:
                        pairs[floor].add(one << 32 | other)
    return pairs, time.perf_counter() - begun


def ceiling(dimensions: int) -> float:
    """10^9 multiplications and additions a second of one thread, for blocks of this width."""
    one = np.random.default_rng(0).standard_normal((1_024, dimensions)).astype(np.float32)
    other = np.random.default_rng(1).standard_normal((8_192, dimensions)).astype(np.float32)
    with one_thread():
        best = min(_timed(lambda: one @ other.T) for _ in range(5))
    return one.shape[0] * other.shape[0] * dimensions / best / 1e9


def _timed(function: Any) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def peer_faiss(vectors: Any, queries: Any, clusters: int, expected: dict[float, set[int]]) -> None:
    """IVFFlat with as many clusters and probes."""
    try:
        import faiss
    except ImportError:
        print("  faiss: not installed (make peers)")
        return
    faiss.omp_set_num_threads(1)
    floats = vectors.astype(np.float32)
    floats /= np.linalg.norm(floats, axis=1, keepdims=True)
    quantizer = faiss.IndexFlatIP(vectors.shape[1])
    index = faiss.IndexIVFFlat(quantizer, vectors.shape[1], clusters, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = 3
    sample = floats[: min(len(floats), SAMPLE_PER_CLUSTER * clusters)]
    training = _timed(lambda: index.train(sample))
    adding = _timed(lambda: index.add(floats))
    begun = time.perf_counter()
    limits, _, others = index.range_search(floats[queries], FLOOR)
    asking = (time.perf_counter() - begun) * len(vectors) / len(queries)
    pairs = {
        min(int(q), int(o)) << 32 | max(int(q), int(o))
        for row, q in enumerate(queries)
        for o in others[limits[row] : limits[row + 1]]
        if o != q
    }
    recall = len(pairs & expected[FLOOR]) / max(len(expected[FLOOR]), 1)
    print(
        f"  faiss IVFFlat, one thread: {training:.1f} s training, {adding:.1f} s adding, "
        f"{asking:.1f} s for all queries (in proportion); recall of a query {recall:.4f}"
    )


def peer_sklearn(
    vectors: Any, queries: Any, clusters: int, expected: dict[float, set[int]]
) -> None:
    """Mini-batch k-means beside Lloyd's, and the recall of both by the same probes."""
    from sklearn.cluster import MiniBatchKMeans

    sample = vectors[: SAMPLE_PER_CLUSTER * clusters].astype(np.float32)
    with one_thread():
        begun = time.perf_counter()
        model = MiniBatchKMeans(clusters, batch_size=4_096, n_init=1, random_state=1).fit(sample)
        theirs = time.perf_counter() - begun
    begun = time.perf_counter()
    own = train(sample, clusters)
    mine = time.perf_counter() - begun
    centres = model.cluster_centers_.astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    ends = np.array([[key >> 32, key & 0xFFFFFFFF] for key in expected[FLOOR]], np.int64)
    recalls = []
    for centroids in (centres, own):
        probed = [nearest(vectors[ends[:, end]].astype(np.float32), centroids, 3) for end in (0, 1)]
        met = (probed[0] == probed[1][:, :1]).any(axis=1) | (probed[1] == probed[0][:, :1]).any(
            axis=1
        )
        recalls.append(met.mean())
    print(
        f"  k-means of {clusters:,} clusters on {len(sample):,}: MiniBatchKMeans {theirs:.1f} s, "
        f"recall {recalls[0]:.4f}; ours {mine:.1f} s, recall {recalls[1]:.4f}"
    )


def bench(count: int, dimensions: int, workers: int, work: Path, *, peers: bool) -> None:
    """One size."""
    vectors = vectors_of(count, dimensions)
    inputs = inputs_of(work, vectors)
    clusters = count_for(count, None)
    print(f"{count:,} vectors of {dimensions} dimensions, {clusters:,} clusters, {workers} workers")
    with start(EngineConfig(kind="processes", workers=workers, cpu_threads=1)) as engine:
        list(engine.map(len, ["warm"] * workers))
        made = measured(NEIGHBOURS, NeighboursParameters(floor=FLOOR), inputs, work, engine)
        found, cosines = found_pairs(made)
        limits = SemanticParameters(keep=ScoreKeep.model_validate("<0.95"), accept=True)
        elected = measured(SEMANTIC, limits, {**inputs, "neighbours": made}, work, engine)
    counts = made.statistics
    print(
        f"  {len(found):,} pairs from {FLOOR}; {elected.statistics['near']:,} documents go at "
        f"0.95; largest cluster {counts['largest_cluster']:,}; of all pairs "
        f"{counts['compared'] / (count * (count - 1) / 2):.2%} compared"
    )
    rate = ceiling(dimensions)
    products = (counts["compared"] + count * clusters) * dimensions
    print(
        f"  ceiling: {rate:.0f} G multiplications a second and thread; the stage's products "
        f"(search and assignment) take {products / rate / 1e9:.1f} s of one thread at that rate"
    )
    queries = np.random.default_rng(2).choice(count, min(QUERIES, count), replace=False)
    expected, seconds = brute_force(vectors, queries)
    for floor in FLOORS:
        mine = set(found[cosines >= floor].tolist()) if count <= 200_000 else None
        if mine is None:
            wanted = np.array(sorted(expected[floor]), np.uint64)
            hits = int(np.isin(wanted, found).sum())
        else:
            hits = len(mine & expected[floor])
        total = len(expected[floor])
        print(
            f"  recall from {floor}: {hits / max(total, 1):.4f} of {total:,} pairs of the queries"
        )
    print(f"  brute force, one thread: {seconds * count / len(queries) / 2:,.0f} s for all pairs")
    del found, cosines
    gc.collect()
    if clusters > 1 and peers:
        peer_sklearn(vectors, queries, clusters, expected)
        peer_faiss(vectors, queries, clusters, expected)


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--without-peers", action="store_true")
    arguments = parser.parse_args()
    for count in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            sizes = count, arguments.dimensions, arguments.workers
            bench(*sizes, Path(folder), peers=not arguments.without_peers)


if __name__ == "__main__":
    main()
