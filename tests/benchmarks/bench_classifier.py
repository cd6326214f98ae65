"""Scoring 2.5 KB documents on one core: ours, from a table of raw text to a column of scores, and
bare fastText (its C++ predict on lines that are prepared already), which is the ceiling.

Beside it: the same with characters of unspaced scripts set apart by a pattern, as it was before;
classifiers trained elsewhere, whose lines are taken as they are; a linear probe, on vectors that
are there.

Run: python -m tests.benchmarks.bench_classifier. Reads PUNA_REAL_DATA or ../shared/data; trains a
small model first.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import unittest.mock
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tasks.classifier import fasttext_process
from tasks.documents.vectors import to_column
from tasks.scorers.fasttext_scorer import load
from tasks.scorers.linear import Probe
from tasks.scorers.meta import ScorerMeta
from tasks.scorers.prepare import prepare
from tasks.scorers.scorer import Scorer
from tasks.scores.run import annotate_table
from tests.tasks.scorers.test_prepare import by_pattern

DATA = Path(
    os.environ.get("PUNA_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
DOCUMENT_BYTES = 2_500
DOCUMENTS = 1_000
ROUNDS = 7
TEXTS = {
    "en": ("web_en/fineweb-sample/fineweb_sample.txt", 1),
    "zh": ("prose_zh/four-novels/西游记.txt", 3),
}
SETTINGS = {
    "dim": 64,
    "epoch": 2,
    "lr": 0.5,
    "wordNgrams": 2,
    "minCount": 2,
    "bucket": 200_000,
    "seed": 0,
}


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call, on one thread."""
    started = time.process_time()
    work()
    return time.process_time() - started


def _by_pattern(scorer: Scorer, table: pa.Table) -> None:
    with unittest.mock.patch("tasks.scorers.prepare.apart", by_pattern):
        annotate_table(scorer, table)


def measure(language: str, texts: list[str], folder: Path) -> None:
    """Print a line for each way."""
    lines = [prepare(text, "words", 10_000) for text in texts]
    corpus, model = folder / "corpus.txt", folder / "model.bin"
    labels = ("good", "other")
    corpus.write_text(
        "\n".join(f"__label__{labels[n % 2]} {line}" for n, line in enumerate(lines)),
        encoding="utf-8",
    )
    fasttext_process.train(corpus, model, SETTINGS, folder, "bench")
    load.cache_clear()
    bare = load(str(model))
    words = ScorerMeta("fasttext", "probability", label="good", preparation="words")
    plain = ScorerMeta("fasttext", "value", label="good")
    probe = folder / "weights.npy"
    with probe.open("wb") as stream:
        Probe(np.random.default_rng(0).normal(size=384), 0.0).write(stream)
    vectors = np.random.default_rng(1).normal(size=(len(texts), 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = pa.table({"text": texts, "prompt": [""] * len(texts)})
    with_vectors = table.append_column("vector", to_column(vectors, np.ones(len(texts), np.bool_)))
    linear = Scorer(ScorerMeta("linear", "probability"), probe)
    ways: dict[str, Callable[[], object]] = {
        "preparation": lambda: [prepare(text, "words", 10_000) for text in texts],
        "bare fastText": lambda: [bare.predict(f"{line}\n", -1, 0.0, "strict") for line in lines],
        "ours, trained here": lambda: annotate_table(Scorer(words, model), table),
        "ours, by a pattern": lambda: _by_pattern(Scorer(words, model), table),
        "ours, trained elsewhere": lambda: annotate_table(Scorer(plain, model), table),
        "linear probe": lambda: annotate_table(linear, with_vectors),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, work in ways.items():
            taken[name].append(seconds(work))
    ceiling = statistics.median(taken["bare fastText"])
    for name, times in taken.items():
        median = statistics.median(times)
        size = sum(len(text.encode()) for text in texts)
        print(
            f"{language}  {name:24} {len(texts) / median:10,.0f} documents/s "
            f"{size / median / 1e6:8.1f} MB/s  {ceiling / median:6.2f} of the ceiling"
        )


def main() -> None:
    """See the module docstring."""
    for language, (name, width) in TEXTS.items():
        text = (DATA / name).read_text(encoding="utf-8")
        size = DOCUMENT_BYTES // width
        texts = [text[at : at + size] for at in range(0, len(text) - size, size)][:DOCUMENTS]
        with tempfile.TemporaryDirectory() as folder:
            measure(language, texts, Path(folder))


if __name__ == "__main__":
    main()
