"""Applies the `keep` grammar to annotation columns: one reason, or null for "kept", per document.

Every function takes Arrow arrays of N rows and returns a string array of N rows. Reasons are what
the ledger counts and what `puna inspect` shows: "langid.noise", "langid.language",
"langid.script", "langid.threshold", "quality.<rule>", "perplexity.<bucket>",
"decontaminate.<benchmark>", "classifier.<name>".
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.documents.keep import (
    ALL_BUCKET,
    BUCKETS,
    NO_LANGUAGE,
    BucketKeep,
    LanguageKeep,
    RulesKeep,
    ScoreKeep,
)

_NONE = pa.scalar(None, pa.string())


def language_reasons(
    keep: LanguageKeep, language: pa.Array, score: pa.Array, script: pa.Array | None = None
) -> pa.Array:
    """Reasons of `LanguageKeep` in their order: noise, language, script (if any are named), score.

    Scores are float32, so thresholds are rounded to float32 before the comparison.
    """
    limit: Any = pa.scalar(np.float32(keep.threshold), pa.float32())
    for name, threshold in keep.thresholds.items():
        own = pa.scalar(np.float32(threshold), pa.float32())
        limit = pc.if_else(pc.fill_null(pc.equal(language, name), False), own, limit)
    low = pc.fill_null(pc.less(score, limit), True)
    reasons = pc.if_else(low, "langid.threshold", _NONE)
    if keep.scripts is not None and script is not None:
        listed = pc.is_in(script, value_set=pa.array(keep.scripts, pa.string()))
        reasons = pc.if_else(listed, reasons, "langid.script")
    if keep.languages is not None:
        listed = pc.is_in(language, value_set=pa.array(keep.languages, pa.string()))
        reasons = pc.if_else(listed, reasons, "langid.language")
    if NO_LANGUAGE not in (keep.languages or ()):
        noise = pc.fill_null(pc.equal(language, NO_LANGUAGE), False)
        reasons = pc.if_else(noise, "langid.noise", reasons)
    return reasons


def rule_reasons(keep: RulesKeep, failed: pa.Array) -> pa.Array:
    """The first of the failed rules that `keep` applies; `failed` is list<struct<rule, value>>."""
    return _first_in_list(failed, "rule", keep.applies, "quality.")


def contamination_reasons(contaminated: pa.Array) -> pa.Array:
    """The first benchmark of which a document contains an item."""
    return _first_in_list(contaminated, "benchmark", lambda _: True, "decontaminate.")


def bucket_reasons(keep: BucketKeep, bucket: pa.Array) -> pa.Array:
    """Reasons of `BucketKeep` for the buckets that `buckets` returns; "all" always passes."""
    kept = pc.is_in(bucket, value_set=pa.array([*keep.root, ALL_BUCKET], pa.string()))
    return pc.if_else(kept, _NONE, pc.binary_join_element_wise("perplexity", bucket, "."))


def score_reasons(keep: ScoreKeep, name: str, score: pa.Array) -> pa.Array:
    """Reason "classifier.<name>" where the score fails; a missing score fails."""
    compare = {">=": pc.greater_equal, ">": pc.greater, "<=": pc.less_equal, "<": pc.less}[
        keep.comparison
    ]
    limit = pa.scalar(keep.limit, pa.float64()).cast(score.type, safe=False)
    return pc.if_else(pc.fill_null(compare(score, limit), False), _NONE, f"classifier.{name}")


def buckets(
    language: pa.Array, perplexity: pa.Array, cutoffs: Mapping[str, tuple[float, float]]
) -> pa.Array:
    """cc_net's buckets: head below a language's first cut-off, middle below its second, else tail.

    "all" without a perplexity, or without cut-offs for the language.
    """
    limits = np.array(
        [cutoffs.get(code, (np.nan, np.nan)) for code in language.to_pylist()], np.float64
    ).reshape(-1, 2)
    values = perplexity.to_numpy(zero_copy_only=False).astype(np.float64)
    index = (values >= limits[:, 0]).astype(np.int8) + (values >= limits[:, 1])
    known = perplexity.is_valid().to_numpy(zero_copy_only=False) & ~np.isnan(limits[:, 0])
    names = pa.DictionaryArray.from_arrays(
        pa.array(np.where(known, index, 3), pa.int8()), [*BUCKETS, ALL_BUCKET]
    )
    return names.cast(pa.string())


def first_reasons(rows: int, reasons: list[pa.Array]) -> pa.Array:
    """The first reason of each row that is not null; `reasons` are in the order of the checks."""
    return functools.reduce(
        lambda first, then: pc.coalesce(first, then), reasons, pa.nulls(rows, pa.string())
    )


def _first_in_list(lists: pa.Array, field: str, applies: Any, prefix: str) -> pa.Array:
    parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    values = pc.struct_field(pc.list_flatten(lists), field)
    wanted = [name for name in values.unique().to_pylist() if applies(name)]
    hits = pc.is_in(values, value_set=pa.array(wanted, pa.string())).to_numpy(zero_copy_only=False)
    rows, first = np.unique(parents[hits], return_index=True)
    take = np.full(len(lists), -1, np.int64)
    take[rows] = np.flatnonzero(hits)[first]
    names = values.take(pa.array(take, mask=take < 0))
    return pc.binary_join_element_wise(prefix[:-1], names, ".")
