"""Trains a classifier on examples, calibrates it on those held out, and measures it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from infra.stage import StageError
from infra.store import Shard
from tasks.classifier import fasttext_process, measure
from tasks.classifier.examples import Examples, assemble, disagreements, learned_languages
from tasks.classifier.stage import ClassifierParameters
from tasks.documents.schema import COMPRESSION
from tasks.documents.vectors import COLUMN, from_column
from tasks.scorers.fasttext_scorer import MODEL_FILE, PREFIX, load
from tasks.scorers.fasttext_scorer import margins as fasttext_margins
from tasks.scorers.meta import FILE, ScorerMeta
from tasks.scorers.prepare import prepare

GOOD, OTHER = "good", "other"
FOLDS = 5
SHOWN = 8
"""Disagreements of each kind in the statistics."""


@dataclass(frozen=True)
class Training:
    """The work of the one shard. `files`: of the sample; `labels`: of a rubric, or None;
    `scratch`: a local folder; `embedding`: of a linear probe, how the vectors that it reads are
    made.
    """

    name: str
    parameters: ClassifierParameters
    files: tuple[Path, ...]
    labels: Path | None
    scratch: Path
    embedding: dict[str, Any] | None = None


def train(work: Training, shard: Shard) -> dict[str, Any]:
    """Train, calibrate, measure and write; returns statistics."""
    parameters = work.parameters
    examples = assemble(work.name, parameters, work.files, work.labels)
    held = examples.held_N
    meta = ScorerMeta(
        "fasttext" if parameters.kind == "fasttext" else "linear",
        "probability" if parameters.target == "probability" else "value",
        label=GOOD,
        languages=learned_languages(parameters, examples.table),
        preparation="words",
        max_characters=parameters.max_characters,
        embedding=work.embedding,
    )
    fit = _fasttext if parameters.kind == "fasttext" else _linear
    margins = fit(work, examples, meta, shard)
    unjudged = np.isnan(margins)
    measured = held & ~unjudged
    if not len({*examples.good_N[measured].tolist()}) == 2:
        raise StageError(
            f"classifier/{work.name}: of the held-out documents, the classifier can judge only one "
            "kind; give it more documents, or raise heldout"
        )
    meta, scores, statistics = _calibrated(meta, examples, margins, measured, parameters.seed)
    with shard.create(FILE) as path:
        meta.write(path)
    _write_heldout(shard, examples, margins, scores, measured)
    return {
        "kind": parameters.kind,
        "documents": examples.counts(),
        "groups": len(np.unique(examples.groups_N)),
        "languages": None if meta.languages is None else list(meta.languages),
        "unjudged": int(np.count_nonzero(held & unjudged)),
        **statistics,
        **_doubts(statistics),
        "disagreements": disagreements(examples, scores, measured, SHOWN),
    }


def _doubts(statistics: Mapping[str, Any]) -> dict[str, list[str]]:
    """A note where the classifier may tell nothing."""
    low, high = statistics["auc_interval"]
    if low > 0.5:
        return {}
    return {
        "notes": [
            f"AUC on held-out documents is {statistics['auc']:.2f} ({low:.2f} to {high:.2f}), "
            "which does not differ from chance, 0.5; its scores may say nothing: label more "
            "documents, look at the disagreements in the report, or use another kind or threshold"
        ]
    }


def _calibrated(
    meta: ScorerMeta,
    examples: Examples,
    margins: npt.NDArray[np.float64],
    measured: npt.NDArray[np.bool_],
    seed: int,
) -> tuple[ScorerMeta, npt.NDArray[np.float64], dict[str, Any]]:
    """(the calibrated meta, scores of all examples, statistics)."""
    m, good = margins[measured], examples.good_N[measured]
    groups = examples.groups_N[measured]
    # Another digit of the hash than the one that held them out, the same within a group.
    folds = (examples.unit_N[measured] * 2**20).astype(np.int64) % FOLDS
    found: dict[str, Any] = {"auc": measure.auc(m, good)}
    found["auc_interval"] = list(measure.auc_interval(m, good, groups, seed))
    lengths = np.array([len(text) for text in examples.texts(measured)], np.float64)
    length = measure.auc(lengths, good)
    found["auc_of_length"] = max(length, 1 - length)
    if meta.output == "value":
        labels = examples.labels_N[measured]
        slope, offset = np.polyfit(m, labels, 1) if np.std(m) else (1.0, 0.0)
        meta = replace(meta, slope=max(float(slope), 1e-3), offset=float(offset))
        scores = meta.scores(margins)
        known = np.std(scores[measured]) and np.std(labels)
        found["correlation"] = float(np.corrcoef(scores[measured], labels)[0, 1]) if known else None
        found["error"] = float(np.sqrt(np.mean((scores[measured] - labels) ** 2)))
        return meta, scores, found
    crossed = measure.crossed(m, good, folds)
    rows = measure.reliability(crossed, good)
    platt = measure.fit_platt(m, good)
    meta = replace(meta, slope=platt.slope, offset=platt.offset)
    found |= {
        "reliability": rows,
        "calibration_error": measure.calibration_error(rows),
        "brier": measure.brier(crossed, good),
    }
    return meta, meta.scores(margins), found


def _fasttext(
    work: Training, examples: Examples, meta: ScorerMeta, shard: Shard
) -> npt.NDArray[np.float64]:
    """Train fastText on one thread, which makes it repeatable; margins of all examples."""
    settings = work.parameters.fasttext
    corpus = work.scratch / "training.txt"
    order = np.argsort(examples.unit_N, kind="stable")  # both kinds mixed, whatever their sources
    texts = examples.table["text"].to_pylist()
    with corpus.open("w", encoding="utf-8") as stream:
        for row in order[~examples.held_N[order]].tolist():
            line = prepare(texts[row], meta.preparation, meta.max_characters)
            stream.write(f"{PREFIX}{GOOD if examples.good_N[row] else OTHER} {line}\n")
    with shard.create(MODEL_FILE) as path:
        fasttext_process.train(
            corpus,
            path,
            {
                "dim": settings.dim,
                "epoch": settings.epochs,
                "lr": settings.lr,
                "wordNgrams": settings.word_ngrams,
                "minCount": settings.min_count,
                "bucket": settings.buckets,
                "seed": work.parameters.seed,
            },
            work.scratch,
            work.name,
        )
        corpus.unlink()
        load.cache_clear()
        return fasttext_margins(str(path), meta, texts)


def _linear(
    work: Training, examples: Examples, meta: ScorerMeta, shard: Shard
) -> npt.NDArray[np.float64]:
    """Fit the probe; margins of all examples."""
    from tasks.scorers import linear

    parameters = work.parameters
    values, known = from_column(examples.table[COLUMN])
    vectors = values.astype(np.float64)
    there = ~examples.held_N & known
    if meta.output == "value":
        probe = linear.fit_ridge(vectors[there], examples.labels_N[there], parameters.l2)
    else:
        probe = linear.fit_logistic(vectors[there], examples.good_N[there], parameters.l2)
    with shard.create(linear.MODEL_FILE) as path, path.open("wb") as stream:
        probe.write(stream)
    return probe.margins(vectors)


def _write_heldout(
    shard: Shard,
    examples: Examples,
    margins: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
    rows: npt.NDArray[np.bool_],
) -> None:
    chosen = examples.table.filter(pa.array(rows))
    table = pa.table(
        {
            "id": chosen["id"],
            "source": chosen["source"],
            "language": chosen["language"],
            "label": pa.array(examples.labels_N[rows], from_pandas=True),
            "good": pa.array(examples.good_N[rows]),
            "group": pa.array(examples.groups_N[rows]),
            "margin": pa.array(margins[rows]),
            "score": pa.array(scores[rows]),
        }
    )
    with shard.create("heldout.parquet") as path:
        pq.write_table(table, path, compression=COMPRESSION)
