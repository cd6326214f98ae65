"""What classifiers' scores decide in `cut`: thresholds first, then sampling curves.

A source has a column of scores for each of its classifiers; null is a document that the classifier
does not score, because of its language or because it is empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.stage import StageError
from tasks.cut.scored import Cutoff, steps_of
from tasks.documents import keep_columns
from tasks.documents.curves import Curve, copies, uniform
from tasks.documents.keep import ScoreKeep
from tasks.documents.scoring import SourceClassifier

Limits = Mapping[str, tuple[Cutoff, ...]]
"""Language -> the cut-offs of a curve."""

_PREFIX = "classifier."


def with_scores(tables: Iterator[pa.Table], scores: Mapping[str, Path]) -> Iterator[pa.Table]:
    """The tables of a part, one per row group, with a column `classifier.NAME` for each file of
    scores.
    """
    files = {name: pq.ParquetFile(path) for name, path in scores.items()}
    for group, table in enumerate(tables):
        for name, file in files.items():
            read = file.read_row_group(group, columns=["score"])["score"]
            if len(read) != table.num_rows:
                raise StageError(
                    f"{scores[name]}: {len(read)} scores in row group {group}, but "
                    f"{table.num_rows} documents; they belong to other documents: rebuild them"
                )
            table = table.append_column(_PREFIX + name, read)
        yield table


def score_of(table: pa.Table, name: str) -> pa.Array:
    """The column of a classifier."""
    return table[_PREFIX + name].combine_chunks()


def threshold_reasons(table: pa.Table, keeps: Mapping[str, SourceClassifier]) -> list[pa.Array]:
    """A column of reasons for each classifier: of thresholds, and of documents without a score."""
    found = []
    for name, section in keeps.items():
        if section.keep is None:
            continue
        score = score_of(table, name)
        reason = pa.nulls(len(score), pa.string())
        if isinstance(section.keep, ScoreKeep):
            reason = keep_columns.score_reasons(section.keep, name, score)
        missing = pa.scalar(
            None if section.unscored == "keep" else f"classifier.{name}.unscored", pa.string()
        )
        found.append(pc.if_else(pc.is_null(score), missing, reason))
    return found


def curves_of(keeps: Mapping[str, SourceClassifier]) -> dict[str, Curve]:
    """The classifiers of a source that have a curve."""
    return {name: one.keep for name, one in keeps.items() if isinstance(one.keep, Curve)}


def eligible_scores(
    table: pa.Table, reason: pa.Array, language: pa.Array, name: str
) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    """Language -> scores of documents without a reason, which percentiles are of."""
    score = score_of(table, name)
    chosen = pa.table({"language": language, "score": score}).filter(
        pc.and_(pc.is_null(reason), pc.is_valid(score))
    )
    for code in sorted(pc.unique(chosen["language"]).to_pylist()):
        values = chosen.filter(pc.equal(chosen["language"], code))["score"]
        yield code, values.to_numpy().astype(np.float64)


def apply_curves(
    table: pa.Table,
    reason: pa.Array,
    language: pa.Array,
    curves: Mapping[str, Curve],
    limits: Mapping[str, Limits],
) -> tuple[pa.Array, pa.Array, dict[str, Any]]:
    """(reasons, copies of each of N documents, what was drawn); `reason`: of all checks before.

    What was drawn: classifier -> language -> {documents, copies}, each a list by step.
    """
    reasons = [reason]
    ids = table["id"].to_pylist() if curves else []
    repeats = np.ones(table.num_rows, np.int32)
    drawn: dict[str, Any] = {}
    for name, curve in curves.items():
        why: list[str | None] = [None] * table.num_rows
        score = score_of(table, name)
        applies = pc.and_(pc.is_null(reason), pc.is_valid(score)).to_numpy(zero_copy_only=False)
        codes = np.asarray(language.to_pylist(), object)
        for code in sorted({*codes[applies].tolist()}):
            rows = np.flatnonzero(applies & (codes == code))
            values = score.take(pa.array(rows)).to_numpy().astype(np.float64)
            ties = np.fromiter((uniform(ids[row], "tie", name) for row in rows), np.float64)
            steps = steps_of(values, ties, limits.get(name, {}).get(code, ()))
            factors = [curve.factors[step] for step in steps]
            many = [copies(f, ids[row], name) for row, f in zip(rows, factors, strict=True)]
            for row, step, number in zip(rows.tolist(), steps.tolist(), many, strict=True):
                repeats[row] *= number
                if not number:
                    drop = not curve.factors[step]
                    why[row] = f"classifier.{name}" if drop else f"classifier.{name}.drawn"
            count = len(curve.steps)
            drawn.setdefault(name, {})[code] = {
                "documents": np.bincount(steps, minlength=count).tolist(),
                "copies": np.bincount(steps, many, minlength=count).astype(int).tolist(),
            }
        reasons.append(pa.array(why, pa.string()))
    first = keep_columns.first_reasons(table.num_rows, reasons)
    kept = first.is_null().to_numpy(zero_copy_only=False)
    return first, pa.array(np.where(kept, repeats, 0), pa.int32()), drawn


class Drawn:
    """Sums of what `apply_curves` counted."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], Counter[int]] = {}

    def add(self, drawn: Mapping[str, Any]) -> None:
        """Add the counts of a table, or of another's `to_json`."""
        for name, by_language in drawn.items():
            for code, counts in by_language.items():
                for what, by_step in counts.items():
                    found = self._counts.setdefault((name, code, what), Counter())
                    found.update(dict(enumerate(by_step)))

    def to_json(self) -> dict[str, Any]:
        """Classifier -> language -> {documents, copies}, each a list by step."""
        result: dict[str, Any] = {}
        for (name, code, what), counts in sorted(self._counts.items()):
            by_step = [counts[step] for step in range(max(counts) + 1)]
            result.setdefault(name, {}).setdefault(code, {})[what] = by_step
        return result
