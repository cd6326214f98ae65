"""Bits per byte of a benchmark's right answers, from what evaluation kept of every item.

Accuracy of so small a model is that of guessing; the probability of the right answer moves long
before (Madaan et al. 2024, arXiv:2406.10229).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from infra.stage import StageError
from tasks.benchmarks.model import Benchmark
from tasks.benchmarks.prompts import answers
from tasks.benchmarks.read import read_items


def answer_texts(
    name: str, benchmark: Benchmark, paths: Sequence[Path], dev: Sequence[Path]
) -> dict[str, tuple[str, ...]]:
    """Id of an item -> what is scored of it, as evaluation asks it by likelihood."""
    grouped = len(paths) > 1 or bool(benchmark.shots and len(dev) > 1)
    items = read_items(name, benchmark, paths, group_by_task=grouped)
    style = benchmark.resolved_style()
    return {item.id: answers(item, style) for item in items}


def bits_per_byte(
    name: str, samples: Iterable[str], texts: Mapping[str, Sequence[str]]
) -> float | None:
    """Bits per UTF-8 byte of the right answers, a ratio of sums; None where no item was asked.

    Args:
        samples: lines of evaluation's `samples/<task>.jsonl`.
        texts: as `answer_texts` gives them.

    Raises:
        StageError: a sample's item is not in the benchmark's files.
    """
    nats = size = 0.0
    for line in samples:
        sample = json.loads(line)
        if "not_asked" in sample or "loglikelihoods" not in sample:
            continue
        if (found := texts.get(sample["id"])) is None:
            raise StageError(
                f"benchmark {name!r}: evaluation asked item {sample['id']!r}, which its files do "
                "not have; evaluate the proxies again (--force evaluation)"
            )
        nats -= sample["loglikelihoods"][sample["answer"]]
        size += len(found[sample["answer"]].encode())
    return nats / math.log(2) / size if size else None
