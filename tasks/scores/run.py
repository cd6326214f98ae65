"""Runs stage scores: annotates every part, then counts scores and documents without one."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.context import Context
from infra.ledger import UNDETERMINED
from infra.stage import Outcome, StageError
from infra.store import Artifact
from tasks.documents.annotate import annotate, ledger_of
from tasks.documents.records import records
from tasks.documents.scoring import classifier_of
from tasks.documents.vectors import COLUMN, from_column, made_with, require_comparable
from tasks.scorers.scorer import Scorer

PERCENTILES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99)
BINS = 20


def run(context: Context) -> Outcome:
    """See `tasks.scores.stage`."""
    classifier = context.input("classifier")
    scorer = Scorer.of(classifier)
    annotations: dict[str, tuple[str, ...]] = {"langid": ("language",)}
    if scorer.meta.kind == "linear":
        _require_its_vectors(context, classifier, scorer)
        annotations["embeddings"] = (COLUMN,)
    results = annotate(context, functools.partial(annotate_table, scorer), annotations=annotations)
    names = context.input("documents").files("part-")
    written = [context.attempt.data.local(name) for name in names]
    langid = context.optional("langid")
    return Outcome(
        {
            "classifier": content_identity(classifier),
            **statistics(written),
            **_without_score(scorer, names, written, langid, classifier_of(context.name)),
        },
        ledger_of(results),
    )


def _require_its_vectors(context: Context, classifier: Artifact, scorer: Scorer) -> None:
    vectors = context.optional("embeddings")
    how = made_with(vectors) if vectors is not None else None
    if vectors is None or how is None:
        raise StageError(
            f"scores/{context.name}: the classifier reads vectors, and the source has none; add a "
            "section embeddings"
        )
    wanted = (classifier.identity, scorer.meta.embedding or {})
    require_comparable([wanted, (vectors.identity, how)], "train the classifier again")


def content_identity(classifier: Artifact) -> str:
    """What tells scores of one classifier from another's: by what it holds, however often it was
    made.
    """
    return f"{classifier.name}@{classifier.digest[:16]}"


def annotate_table(scorer: Scorer, table: pa.Table) -> pa.Table:
    """N documents (columns text and prompt; language, if known) -> column `score`."""
    texts = records(table).to_pylist()
    scores = np.full(len(texts), np.nan)
    if "language" in table.column_names:
        codes = [code or UNDETERMINED for code in table["language"].to_pylist()]
        rows = [row for row, code in enumerate(codes) if scorer.meta.scores_language(code)]
    else:
        rows = list(range(len(texts)))
    if rows:
        vectors = None
        if COLUMN in table.column_names:
            vectors = from_column(table[COLUMN].take(pa.array(rows)))[0]
        scores[rows] = scorer.scores([texts[row] for row in rows], vectors)
    return pa.table({"score": pa.array(scores.astype(np.float32), pa.float32(), from_pandas=True)})


def statistics(files: Iterable[Path]) -> dict[str, Any]:
    """Documents with a score, its percentiles (the nearest document's), and a histogram."""
    found = [pq.read_table(file, columns=["score"])["score"].drop_null() for file in files]
    scores = np.concatenate([np.empty(0, np.float32), *(one.to_numpy() for one in found)])
    if not len(scores):
        return {"scored": 0, "percentiles": {}, "histogram": None}
    low, high = float(scores.min()), float(scores.max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    counts, edges = np.histogram(scores, BINS, (low, max(high, low + 1e-6)))
    cuts = np.percentile(scores, PERCENTILES, method="nearest")
    return {
        "scored": len(scores),
        "percentiles": {str(p): float(cut) for p, cut in zip(PERCENTILES, cuts, strict=True)},
        "histogram": {"edges": edges.tolist(), "documents": counts.tolist()},
    }


def _without_score(
    scorer: Scorer,
    names: list[str],
    written: list[Path],
    langid: Artifact | None,
    classifier: str,
) -> dict[str, Any]:
    """Documents without a score by language, and a note where a language is why."""
    missing: Counter[str] = Counter()
    total = 0
    for name, file in zip(names, written, strict=True):
        unscored = pq.read_table(file, columns=["score"])["score"].is_null()
        total += len(unscored)
        if langid is None:
            missing[UNDETERMINED] += int(np.count_nonzero(unscored.to_numpy()))
        else:
            codes = pq.read_table(langid.path(name), columns=["language"])["language"]
            missing.update(code or UNDETERMINED for code in codes.filter(unscored).to_pylist())
    by_language = {code: count for code, count in missing.most_common() if count}
    found: dict[str, Any] = {"unscored": by_language}
    foreign = {c: n for c, n in by_language.items() if not scorer.meta.scores_language(c)}
    if foreign:
        shown = ", ".join(f"{code} {count:,}" for code, count in list(foreign.items())[:5])
        found["notes"] = [
            f"{sum(foreign.values()):,} of {total:,} documents are in languages that classifier "
            f"{classifier} has not learned ({shown}; it knows "
            f"{', '.join(scorer.meta.languages or ())}) and have no score; `unscored` says what "
            "becomes of them"
        ]
    return found
