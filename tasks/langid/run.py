"""Runs stage langid: annotates every part, then counts labels and scores for the dashboard."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from infra.context import Context
from infra.stage import Outcome
from tasks.documents.annotate import annotate, ledger_of
from tasks.langid.identify import annotate_table, load

SCORE_BINS = 20


def run(context: Context) -> Outcome:
    """See `tasks.langid.stage`."""
    # a packaged model is found by its name on every node
    model = context.pin("model") if context.pins.get("model") else context.parameters.model
    load(model)  # fail on an unreadable model here, before any worker starts
    results = annotate(
        context,
        functools.partial(
            annotate_table,
            model_path=model,
            preprocessing=context.parameters.preprocessing,
        ),
    )
    written = [
        context.attempt.data.local(name) for name in context.input("documents").files("part-")
    ]
    return Outcome(statistics(written), ledger_of(results))


def statistics(files: Iterable[Path]) -> dict[str, Any]:
    """Documents, mean score and scripts per language, most frequent first; histogram of scores in
    [0, 1].
    """
    counts: dict[str, int] = {}
    sums: dict[str, float] = {}
    scripts: dict[str, Counter[str]] = {}
    histogram = np.zeros(SCORE_BINS, np.int64)
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches():
            scores = batch["language_score"].to_numpy()
            histogram += np.histogram(scores, SCORE_BINS, (0.0, 1.0))[0]
            for language, score, script in zip(
                batch["language"].to_pylist(),
                scores.tolist(),
                batch["script"].to_pylist(),
                strict=True,
            ):
                counts[language] = counts.get(language, 0) + 1
                sums[language] = sums.get(language, 0.0) + score
                if script is not None:
                    scripts.setdefault(language, Counter())[script] += 1
    order = sorted(counts, key=lambda language: (-counts[language], language))
    return {
        "languages": [
            {
                "language": code,
                "documents": counts[code],
                "mean_score": round(sums[code] / counts[code], 6),
                **({"scripts": dict(sorted(scripts[code].items()))} if code in scripts else {}),
            }
            for code in order
        ],
        "score_histogram": {"low": 0.0, "high": 1.0, "documents": histogram.tolist()},
    }
