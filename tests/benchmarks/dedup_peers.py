"""datatrove, rensa and datasketch at deduplication's work; run by bench_dedup.py with
build/peers/bin/python.

    dedup_peers.py signatures FILE DOCUMENTS          seconds of processor time of each, 112 hashes
                                                      of 5-word shingles
    dedup_peers.py dedup FOLDER WORK FILES WORKERS    datatrove's four MinHash steps; what they
                                                      keep, in WORK/out

Prints one JSON object. Needs no package of ours.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"
HASHES, SHINGLE, SEED = 112, 5, 1


def main() -> None:
    """Measure what the arguments say."""
    command, *words = sys.argv[1:]
    if command == "signatures":
        result = signatures(Path(words[0]), int(words[1]))
    else:
        result = dedup(Path(words[0]), Path(words[1]), int(words[2]), int(words[3]))
    print(json.dumps(result))


def texts(path: Path, documents: int) -> list[str]:
    """The first texts of a JSONL file."""
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line)["text"] for line in islice(stream, documents)]


def shingled(text: str) -> list[str]:
    """What the documentation of rensa and datasketch does: words apart at spaces, shingles as
    strings.
    """
    words = text.lower().split()
    return [
        " ".join(words[start : start + SHINGLE])
        for start in range(max(len(words) - SHINGLE + 1, 1))
    ]


def signatures(path: Path, documents: int) -> dict[str, float]:
    """Documents a second of processor time, text to signature, by system; the best of three."""
    import datasketch
    import rensa

    given = texts(path, documents)
    few = given[: documents // 10]

    def rensa_update(some: list[str]) -> None:
        for text in some:
            sketch = rensa.RMinHash(num_perm=HASHES, seed=SEED)
            sketch.update(shingled(text))
            sketch.digest()

    def rensa_batch(some: list[str]) -> None:
        rensa.RMinHash.digests_from_token_sets(
            [shingled(text) for text in some], num_perm=HASHES, seed=SEED
        )

    def rensa_c(some: list[str]) -> None:
        for text in some:
            sketch = rensa.CMinHash(num_perm=HASHES, seed=SEED)
            sketch.update(shingled(text))
            sketch.digest()

    def sketch(some: list[str]) -> None:
        for text in some:
            one = datasketch.MinHash(num_perm=HASHES)
            one.update_batch([gram.encode() for gram in shingled(text)])

    return {
        "datatrove": rate(few, datatrove_signatures()),
        "datasketch": rate(few, sketch),
        "rensa RMinHash.update": rate(given, rensa_update),
        "rensa RMinHash.digests_from_token_sets": rate(given, rensa_batch),
        "rensa CMinHash.update (another algorithm)": rate(given, rensa_c),
    }


def rate(some: list[str], work: Callable[[list[str]], None]) -> float:
    """Documents a second of processor time."""
    work(some[:50])
    seconds = []
    for _ in range(3):
        started = time.process_time()
        work(some)
        seconds.append(time.process_time() - started)
    return len(some) / min(seconds)


def datatrove_signatures() -> Callable[[list[str]], None]:
    """Step 1 without reading and writing."""
    from datatrove.pipeline.dedup import MinhashDedupSignature

    step = MinhashDedupSignature("/tmp/unused", config=configuration())

    def work(some: list[str]) -> None:
        for text in some:
            step.get_signature(step.get_shingles(text))

    return work


def configuration():  # type: ignore[no-untyped-def]
    """FineWeb's, with 64-bit hashes."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.hashing import HashConfig

    return MinhashConfig(
        n_grams=SHINGLE, num_buckets=14, hashes_per_bucket=8, hash_config=HashConfig(precision=64)
    )


def dedup(folder: Path, work: Path, files: int, workers: int) -> dict[str, object]:
    """Seconds of the four steps, with buffers of 1,000 lines (the default of 5 is slower)."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
    )
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter

    config = configuration()
    reader = JsonlReader(str(folder), compression=None)
    buffer = {"lines_to_buffer": 1_000}
    steps = [
        ([reader, MinhashDedupSignature(f"{work}/sig", config=config)], files),
        ([MinhashDedupBuckets(f"{work}/sig", f"{work}/buckets", config=config, **buffer)], 14),
        ([MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config, **buffer)], 1),
        (
            [
                reader,
                MinhashDedupFilter(f"{work}/remove", **buffer),
                JsonlWriter(f"{work}/out", compression=None),
            ],
            files,
        ),
    ]
    seconds = []
    for number, (pipeline, tasks) in enumerate(steps):
        started = time.perf_counter()
        LocalPipelineExecutor(
            pipeline,
            tasks=tasks,
            workers=min(workers, tasks),
            logging_dir=f"{work}/log/{number}",
            start_method="fork",
        ).run()
        seconds.append(time.perf_counter() - started)
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "seconds": seconds,
        "processor_s": sum(one.ru_utime + one.ru_stime for one in spent),
        "peak_MB": max(one.ru_maxrss for one in spent) / 1024,
        "kept": sorted(kept(work / "out")),
    }


def kept(folder: Path) -> Iterator[int]:
    """Numbers of the documents in the output."""
    for path in folder.glob("*.jsonl"):
        with path.open(encoding="utf-8") as stream:
            yield from (int(json.loads(line)["id"]) for line in stream)


if __name__ == "__main__":
    main()
