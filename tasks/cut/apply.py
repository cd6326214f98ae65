"""What workers do with one part of a source: count perplexities and scores, then write reasons.

They read columns, never text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.ledger import UNDETERMINED, Ledger
from infra.store import Shard
from tasks.cut import scored
from tasks.cut.blocking import CompiledList, block_reasons
from tasks.cut.by_field import Others, by_field, looked_up
from tasks.cut.classified import (
    Drawn,
    Limits,
    apply_curves,
    curves_of,
    eligible_scores,
    threshold_reasons,
    with_scores,
)
from tasks.cut.percentiles import count_bins, values_in_bins
from tasks.cut.stage import SourceCut
from tasks.documents import keep_columns
from tasks.documents.annotate import AlignedPart
from tasks.documents.categories import FieldCategory
from tasks.documents.keep import ALL_BUCKET
from tasks.documents.schema import COMPRESSION

SCHEMA = pa.schema(
    [
        ("reason", pa.string()),
        ("language", pa.string()),
        ("category", pa.string()),
        ("bucket", pa.string()),
        ("repeats", pa.int32()),
    ]
)


@dataclass(frozen=True)
class CutWork:
    """One part with the keeps of its source.

    `blocks`: the lists of URLs to leave out; `wanted`: language -> bins to collect; `cutoffs`:
    language -> perplexities (head, middle). `scores`: classifier -> its file; `wanted_scores` and
    `limits`: the same for its scores as `wanted` and `cutoffs` for perplexities, by classifier.
    """

    part: AlignedPart
    keep: SourceCut
    blocks: tuple[CompiledList, ...] = ()
    wanted: Mapping[str, frozenset[int]] = field(default_factory=dict)
    cutoffs: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    scores: Mapping[str, Path] = field(default_factory=dict)
    wanted_scores: Mapping[str, Mapping[str, frozenset[int]]] = field(default_factory=dict)
    limits: Mapping[str, Limits] = field(default_factory=dict)

    def tables(self) -> Iterator[pa.Table]:
        """A table for each row group, with all columns."""
        return with_scores(self.part.tables(), self.scores)


def count_perplexities(work: CutWork, shard: Shard) -> dict[str, Any]:
    """Language -> bin -> documents, over those that pass the checks before perplexity."""
    total: dict[str, Counter[int]] = {}
    for language, values in _eligible_perplexities(work):
        total.setdefault(language, Counter()).update(count_bins(values))
    return {
        language: {str(key): counts[key] for key in sorted(counts)}
        for language, counts in sorted(total.items())
    }


def collect_perplexities(work: CutWork, shard: Shard) -> dict[str, Any]:
    """Language -> (value, its count) for values in wanted bins, over the same documents."""
    total: dict[str, Counter[float]] = {}
    for language, values in _eligible_perplexities(work):
        if language in work.wanted:
            total.setdefault(language, Counter()).update(
                values_in_bins(values, work.wanted[language])
            )
    return {language: sorted(counts.items()) for language, counts in sorted(total.items())}


def count_scores(work: CutWork, shard: Shard) -> dict[str, Any]:
    """Classifier -> language -> bin -> documents, over those that pass all other checks, of
    classifiers with a curve.
    """
    total: dict[str, dict[str, Counter[int]]] = {}
    for name, language, values in _eligible_scores(work):
        counts = total.setdefault(name, {}).setdefault(language, Counter())
        counts.update(scored.count_bins(values))
    return {
        name: {
            language: {str(key): counts[key] for key in sorted(counts)}
            for language, counts in sorted(by_language.items())
        }
        for name, by_language in sorted(total.items())
    }


def collect_scores(work: CutWork, shard: Shard) -> dict[str, Any]:
    """Classifier -> language -> (score, its count) for scores in wanted bins, over the same."""
    total: dict[str, dict[str, Counter[float]]] = {}
    for name, language, values in _eligible_scores(work):
        if wanted := work.wanted_scores.get(name, {}).get(language):
            counts = total.setdefault(name, {}).setdefault(language, Counter())
            counts.update(scored.values_in_bins(values, wanted))
    return {
        name: {language: sorted(counts.items()) for language, counts in sorted(found.items())}
        for name, found in sorted(total.items())
    }


def write_reasons(work: CutWork, shard: Shard) -> dict[str, Any]:
    """Write the part's columns; returns its ledger, contaminated documents by benchmark, and what
    the field of categories has that the recipe does not state (`Others`).

    The latter two count documents whether they are dropped or not.
    """
    ledger = Ledger()
    contaminated: Counter[str] = Counter()
    others, drawn = Others(), Drawn()
    with (
        shard.create(f"{work.part.source}/{work.part.name}") as path,
        pq.ParquetWriter(path, SCHEMA, compression=COMPRESSION) as writer,
    ):
        for table in work.tables():
            cut, counts = cut_table(table, work)
            drawn.add(counts)
            writer.write_table(cut)
            _count(ledger, work.part.source, cut)
            if isinstance(work.keep.category, FieldCategory):
                others.count(_column(table, "category"), work.keep.category)
            if "contaminated" in table.column_names:
                lists = table["contaminated"].to_pylist()
                contaminated.update(
                    name for hits in lists for name in {hit["benchmark"] for hit in hits or ()}
                )
    return {
        "ledger": ledger.to_json(),
        "contaminated": dict(sorted(contaminated.items())),
        "others": others.to_json(),
        "curves": drawn.to_json(),
    }


def cut_table(table: pa.Table, work: CutWork) -> tuple[pa.Table, dict[str, Any]]:
    """N rows of annotations -> N rows of `SCHEMA`, and what curves drew (`apply_curves`)."""
    checked = _checked(table, work)
    reason, repeats, drawn = apply_curves(
        table, checked.reason, checked.language, curves_of(work.keep.classifiers), work.limits
    )
    category = pc.if_else(pc.is_null(reason), checked.category, pa.scalar(None, pa.string()))
    columns = [reason, checked.language, category, checked.bucket, repeats]
    return pa.table(columns, schema=SCHEMA), drawn


class _Checked(NamedTuple):
    """Columns of N rows; `reason`: of all checks but curves."""

    reason: pa.Array
    language: pa.Array
    category: pa.Array
    bucket: pa.Array


def _checked(table: pa.Table, work: CutWork) -> _Checked:
    keep, rows = work.keep, table.num_rows
    language = _language(table)
    reasons = _early_reasons(table, work)
    if "perplexity" in table.column_names:
        bucket = keep_columns.buckets(language, _column(table, "perplexity"), work.cutoffs)
    else:
        bucket = pa.array([ALL_BUCKET] * rows, pa.string())
    if keep.perplexity is not None:
        reasons.append(keep_columns.bucket_reasons(keep.perplexity, bucket))
    if "contaminated" in table.column_names and keep.decontaminate != "report":
        contaminated = keep_columns.contamination_reasons(_column(table, "contaminated"))
        if keep.decontaminate == "passage":
            share = _column(table, "passage_share")
            # A share of 1 always drops the document: nothing would be left of it.
            beyond = pc.or_(pc.greater(share, keep.passage_share), pc.equal(share, 1.0))
            contaminated = pc.if_else(beyond, contaminated, pa.scalar(None, pa.string()))
        reasons.append(contaminated)
    category, uncategorised = _category(keep, table, language)
    reasons += [uncategorised, *threshold_reasons(table, keep.classifiers)]
    return _Checked(keep_columns.first_reasons(rows, reasons), language, category, bucket)


def _early_reasons(table: pa.Table, work: CutWork) -> list[pa.Array]:
    """Reasons of the checks before perplexity, in their order."""
    keep, reasons = work.keep, []
    if work.blocks:
        reasons.append(block_reasons(_column(table, "url"), work.blocks))
    if "emptied" in table.column_names:
        reasons.append(
            pc.if_else(_column(table, "emptied"), "line_dedup.empty", pa.scalar(None, pa.string()))
        )
    if keep.langid is not None:
        language, score = _language(table), _column(table, "language_score")
        script = _column(table, "script") if keep.langid.scripts is not None else None
        reasons.append(keep_columns.language_reasons(keep.langid, language, score, script))
    if keep.quality is not None:
        reasons.append(keep_columns.rule_reasons(keep.quality, _column(table, "failed")))
    return reasons


def _eligible_perplexities(
    work: CutWork,
) -> Iterator[tuple[str, np.ndarray[Any, np.dtype[np.float64]]]]:
    for table in work.part.tables():
        reason = keep_columns.first_reasons(table.num_rows, _early_reasons(table, work))
        perplexity = _column(table, "perplexity")
        eligible = pc.and_(pc.is_null(reason), pc.is_valid(perplexity))
        chosen = pa.table({"language": _language(table), "perplexity": perplexity}).filter(eligible)
        for language in sorted(pc.unique(chosen["language"]).to_pylist()):
            values = chosen.filter(pc.equal(chosen["language"], language))["perplexity"]
            yield language, values.to_numpy().astype(np.float64)


def _eligible_scores(
    work: CutWork,
) -> Iterator[tuple[str, str, np.ndarray[Any, np.dtype[np.float64]]]]:
    """(classifier, language, scores) of classifiers with a curve."""
    curves = curves_of(work.keep.classifiers)
    for table in work.tables():
        checked = _checked(table, work)
        for name in curves:
            for language, values in eligible_scores(table, checked.reason, checked.language, name):
                yield name, language, values


def _category(keep: SourceCut, table: pa.Table, language: pa.Array) -> tuple[pa.Array, pa.Array]:
    """(category of each document, why it has none)."""
    if isinstance(keep.category, FieldCategory):
        return by_field(keep.category, _column(table, "category"))
    if isinstance(keep.category, dict):
        category = looked_up(keep.category, language)
    else:
        category = pa.array([keep.category] * len(language), pa.string())
    reason = pc.if_else(pc.is_null(category), "category.none", pa.scalar(None, pa.string()))
    return category, reason


def _language(table: pa.Table) -> pa.Array:
    if "language" not in table.column_names:
        return pa.array([UNDETERMINED] * table.num_rows, pa.string())
    return pc.fill_null(_column(table, "language"), UNDETERMINED)


def _column(table: pa.Table, name: str) -> pa.Array:
    return table[name].combine_chunks()


def _count(ledger: Ledger, source: str, cut: pa.Table) -> None:
    for row in cut.group_by(["language", "reason"]).aggregate([([], "count_all")]).to_pylist():
        documents, reason = row["count_all"], row["reason"]
        ledger.add(source, row["language"], "read", documents=documents)
        ledger.add(
            source,
            row["language"],
            "dropped" if reason else "kept",
            reason or "",
            documents=documents,
        )
