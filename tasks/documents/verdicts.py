"""What stages decided about documents, in columns that are the same for every stage.

`puna inspect` finds the documents to show by these columns; it reads the text only of those. A
verdict has

    fate      kept; edited: kept, but without some of its text; dropped
    reasons   why it was dropped or edited, the deciding reason first; then, of the quality rules,
              those that it also fails
    score     what the stage measured: the language's score, the perplexity, a rule's value, the
              share (decontaminate) or number (line_dedup, pii) of characters removed
    distance  how far the score is from the limit, for a search near it; null without a limit
    language  langid's label, "und" without one

An annotator drops nothing itself: its verdicts are those of the `keep` that `cut` applied to its
columns (`Keeps`), whatever other checks say of the same documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.ledger import UNDETERMINED
from tasks.documents import keep_columns
from tasks.documents.curves import Curve
from tasks.documents.keep import ScoreKeep, covers
from tasks.documents.keeps import Keeps

KEPT, EDITED, DROPPED = "kept", "edited", "dropped"
FATES = (DROPPED, EDITED, KEPT)

COLUMNS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "ingest": {"langid": ("language",)},
    "langid": {"langid": ("language", "language_score")},
    "quality": {"quality": ("failed",), "langid": ("language",)},
    "perplexity": {"perplexity": ("perplexity",), "langid": ("language",)},
    "line_dedup": {"line_dedup": ("emptied", "edits"), "langid": ("language",)},
    "decontaminate": {
        "decontaminate": ("contaminated", "edits", "passage_share"),
        "langid": ("language",),
    },
    "pii": {"pii": ("edits",), "langid": ("language",)},
    "scores": {"scores": ("score",), "langid": ("language",), "cut": ("reason",)},
    "cut": {"perplexity": ("perplexity",), "cut": ("reason", "language")},
}
"""Stage -> role -> the columns that its verdicts are made of. `langid` and, for cut, `perplexity`
may be missing.
"""

VERDICTS = pa.schema(
    [
        ("fate", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("score", pa.float64()),
        ("distance", pa.float64()),
        ("language", pa.string()),
    ]
)


def verdicts(stage: str, table: pa.Table, keeps: Keeps, rule: str = "") -> pa.Table:
    """N documents (`COLUMNS` of the stage that there are) -> N rows of `VERDICTS`.

    `rule`: the quality rule whose value is the score.
    """
    language = _language(table)
    columns = _BY_STAGE[stage](table, keeps, language, rule)
    return pa.table([*columns, language], schema=VERDICTS)


def _ingest(table: pa.Table, keeps: Keeps, language: pa.Array, rule: str) -> list[pa.Array]:
    rows = table.num_rows
    return [_repeated(KEPT, rows), _no_reasons(rows), _nulls(rows), _nulls(rows)]


def _langid(table: pa.Table, keeps: Keeps, language: pa.Array, rule: str) -> list[pa.Array]:
    score = _column(table, "language_score")
    if keeps.langid is None:
        return [
            *_by_reason(_null_reasons(len(score))),
            score.cast(pa.float64()),
            _nulls(len(score)),
        ]
    reason = keep_columns.language_reasons(keeps.langid, language, score)
    distance = pc.abs(pc.subtract(score.cast(pa.float64()), keeps.langid.threshold))
    unlisted = pc.fill_null(pc.equal(reason, "langid.language"), False)
    distance = pc.if_else(unlisted, pa.scalar(None, pa.float64()), distance)
    return [*_by_reason(reason), score.cast(pa.float64()), distance]


def _quality(table: pa.Table, keeps: Keeps, language: pa.Array, rule: str) -> list[pa.Array]:
    fates: list[str] = []
    reasons: list[list[str]] = []
    scores: list[float | None] = []
    for failed in _column(table, "failed").to_pylist():
        dropping = [f["rule"] for f in failed if keeps.quality and keeps.quality.applies(f["rule"])]
        others = [f["rule"] for f in failed if f["rule"] not in dropping]
        fates.append(DROPPED if dropping else KEPT)
        reasons.append([f"quality.{name}" for name in (*dropping, *others)])
        values = [f["value"] for f in failed if rule and covers(rule, f["rule"])]
        scores.append(values[0] if values else None)
    return [
        pa.array(fates, pa.string()),
        pa.array(reasons, VERDICTS.field("reasons").type),
        pa.array(scores, pa.float64()),
        _nulls(len(fates)),
    ]


def _perplexity(table: pa.Table, keeps: Keeps, language: pa.Array, rule: str) -> list[pa.Array]:
    score = _column(table, "perplexity")
    bucket = keep_columns.buckets(language, score, keeps.cutoffs)
    reason = _null_reasons(len(score))
    if keeps.perplexity is not None:
        reason = keep_columns.bucket_reasons(keeps.perplexity, bucket)
    return [*_by_reason(reason), score, _distance_to_cutoffs(score, language, keeps)]


def _distance_to_cutoffs(score: pa.Array, language: pa.Array, keeps: Keeps) -> pa.Array:
    """Factor between a perplexity and the nearer cut-off, as a logarithm."""
    limits = np.array(
        [keeps.cutoffs.get(code, (np.nan, np.nan)) for code in language.to_pylist()], np.float64
    ).reshape(-1, 2)
    values = score.to_numpy(zero_copy_only=False).astype(np.float64)
    distances = np.abs(np.log(values[:, None] / limits)).min(axis=1) if len(values) else values
    return pa.array(distances, pa.float64(), mask=np.isnan(distances))


def _line_dedup(table: pa.Table, keeps: Keeps, language: pa.Array, rule: str) -> list[pa.Array]:
    reasons, removed = _edit_reasons(_column(table, "edits"))
    emptied = _column(table, "emptied")
    fate = pc.if_else(emptied, DROPPED, _edited(reasons))
    lists = [
        ["line_dedup.empty", *found] if empty else found
        for found, empty in zip(reasons, emptied.to_pylist(), strict=True)
    ]
    return [fate, pa.array(lists, VERDICTS.field("reasons").type), removed, _nulls(len(lists))]


def _decontaminate(table: pa.Table, keeps: Keeps, language: pa.Array, rule: str) -> list[pa.Array]:
    """Fates as in `tasks.cut.apply`; documents that `report` only counts are kept."""
    share = _column(table, "passage_share").cast(pa.float64())
    fates, reasons = [], []
    for hits, part in zip(
        _column(table, "contaminated").to_pylist(), share.to_pylist(), strict=True
    ):
        dropped = keeps.decontaminate == "drop" or part > keeps.passage_share or part == 1.0
        fate = DROPPED if dropped else EDITED
        fates.append(fate if hits and keeps.decontaminate != "report" else KEPT)
        found = dict.fromkeys(hit["benchmark"] for hit in hits)
        reasons.append([f"decontaminate.{benchmark}" for benchmark in found])
    hit = pa.array([bool(found) for found in reasons])
    distance = pc.abs(pc.subtract(share, keeps.passage_share))
    none = pa.scalar(None, pa.float64())
    by_passage = keeps.decontaminate == "passage"
    return [
        pa.array(fates, pa.string()),
        pa.array(reasons, VERDICTS.field("reasons").type),
        pc.if_else(hit, share, none),
        pc.if_else(hit, distance, none) if by_passage else _nulls(len(fates)),
    ]


def _pii(table: pa.Table, keeps: Keeps, language: pa.Array, rule: str) -> list[pa.Array]:
    reasons, removed = _edit_reasons(_column(table, "edits"))
    lists = pa.array(reasons, VERDICTS.field("reasons").type)
    return [_edited(reasons), lists, removed, _nulls(len(reasons))]


def _scores(table: pa.Table, keeps: Keeps, language: pa.Array, rule: str) -> list[pa.Array]:
    """Where cut came to the classifier, as it decided: of documents at a curve's limit itself, a
    hash drops some.
    """
    score = _column(table, "score")
    values, name = score.cast(pa.float64()), keeps.classifier
    section = keeps.classifiers.get(name)
    if section is None or section.keep is None:
        return [*_by_reason(_null_reasons(len(score))), values, _nulls(len(score))]
    if isinstance(section.keep, ScoreKeep):
        reason = keep_columns.score_reasons(section.keep, name, score)
        distance = pc.abs(pc.subtract(values, section.keep.limit))
    else:
        reason, distance = _by_curve(section.keep, name, values, language, keeps)
    unscored = pa.scalar(
        None if section.unscored == "keep" else f"classifier.{name}.unscored", pa.string()
    )
    reason = pc.if_else(pc.is_null(score), unscored, reason)
    if "reason" in table.column_names:
        decided = _column(table, "reason")
        own = pc.fill_null(pc.starts_with(decided, f"classifier.{name}"), True)
        reason = pc.if_else(own, decided, reason)
    return [*_by_reason(reason), values, distance]


def _by_curve(
    curve: Curve, name: str, values: pa.Array, language: pa.Array, keeps: Keeps
) -> tuple[pa.Array, pa.Array]:
    reasons: list[str | None] = []
    distances: list[float | None] = []
    by_language = keeps.limits.get(name, {})
    for value, code in zip(values.to_pylist(), language.to_pylist(), strict=True):
        limits = by_language.get(code)
        if value is None or limits is None:
            reasons.append(None)
            distances.append(None)
            continue
        step = sum(value >= limit for limit in limits)
        reasons.append(None if curve.factors[step] else f"classifier.{name}")
        distances.append(min((abs(value - limit) for limit in limits), default=None))
    return pa.array(reasons, pa.string()), pa.array(distances, pa.float64())


def _cut(table: pa.Table, keeps: Keeps, language: pa.Array, rule: str) -> list[pa.Array]:
    reason = _column(table, "reason")
    if "perplexity" not in table.column_names:
        return [*_by_reason(reason), _nulls(len(reason)), _nulls(len(reason))]
    score = _column(table, "perplexity")
    return [*_by_reason(reason), score, _distance_to_cutoffs(score, language, keeps)]


_BY_STAGE: Mapping[str, Callable[[pa.Table, Keeps, pa.Array, str], list[pa.Array]]] = {
    "ingest": _ingest,
    "langid": _langid,
    "quality": _quality,
    "perplexity": _perplexity,
    "line_dedup": _line_dedup,
    "decontaminate": _decontaminate,
    "pii": _pii,
    "scores": _scores,
    "cut": _cut,
}
STAGES = tuple(_BY_STAGE)
"""The stages that have verdicts."""


def _by_reason(reason: pa.Array) -> list[pa.Array]:
    fate = pc.if_else(pc.is_null(reason), KEPT, DROPPED)
    lists = [[] if value is None else [value] for value in reason.to_pylist()]
    return [fate, pa.array(lists, VERDICTS.field("reasons").type)]


def _edit_reasons(edits: pa.Array) -> tuple[list[list[str]], pa.Array]:
    """(reasons of each document's edits, the characters that they replace)."""
    rows = edits.to_pylist()
    reasons = [list(dict.fromkeys(edit["reason"] for edit in row or ())) for row in rows]
    removed = [sum(edit["end"] - edit["start"] for edit in row or ()) for row in rows]
    return reasons, pa.array([float(n) or None for n in removed], pa.float64())


def _edited(reasons: list[list[str]]) -> pa.Array:
    return pa.array([EDITED if found else KEPT for found in reasons], pa.string())


def _language(table: pa.Table) -> pa.Array:
    if "language" not in table.column_names:
        return _repeated(UNDETERMINED, table.num_rows)
    return pc.fill_null(_column(table, "language"), UNDETERMINED)


def _column(table: pa.Table, name: str) -> pa.Array:
    return table[name].combine_chunks()


def _repeated(value: str, rows: int) -> pa.Array:
    return pa.array([value] * rows, pa.string())


def _no_reasons(rows: int) -> pa.Array:
    return pa.array([[]] * rows, VERDICTS.field("reasons").type)


def _null_reasons(rows: int) -> pa.Array:
    return pa.nulls(rows, pa.string())


def _nulls(rows: int) -> pa.Array:
    return pa.nulls(rows, pa.float64())
