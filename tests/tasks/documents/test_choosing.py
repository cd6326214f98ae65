"""Choosing documents to show: the same ones each time, shared by fate, near a limit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.documents import choosing
from tasks.documents.choosing import Group, Request, choose
from tasks.documents.verdicts import VERDICTS


def world(rows: list[dict[str, Any]], group: int = 7) -> Callable[[], Iterator[Group]]:
    """Row groups of verdicts; ids are hashes, as ingest's are."""
    schema = VERDICTS.append(pa.field("id", pa.string()))
    defaults = {"fate": "kept", "reasons": [], "score": None, "distance": None, "language": "en"}
    full = [
        {**defaults, "id": hashlib.blake2b(str(n).encode(), digest_size=16).hexdigest(), **row}
        for n, row in enumerate(rows)
    ]

    def groups() -> Iterator[Group]:
        for start in range(0, len(full), group):
            yield start, pa.Table.from_pylist(full[start : start + group], schema=schema)

    return groups


def scored(count: int = 200) -> list[dict[str, Any]]:
    """Scores 0 to `count`, dropped below a limit of 50."""
    return [
        {
            "fate": "dropped" if n < 50 else "kept",
            "reasons": ["perplexity.tail"] if n < 50 else [],
            "score": float(n),
            "distance": abs(n - 49.5),
            "language": "en" if n % 2 else "zh",
        }
        for n in range(count)
    ]


def test_a_sample_is_shared_by_fates_and_does_not_depend_on_row_groups() -> None:
    request = Request(sample=6)
    chosen = choose(world(scored()), request)
    assert [row.fate for row in chosen.rows] == ["dropped"] * 3 + ["kept"] * 3
    again = choose(world(scored(), group=31), request)
    assert [row.id for row in again.rows] == [row.id for row in chosen.rows]
    assert [row.place + row.row for row in chosen.rows] == [
        row.place + row.row for row in again.rows
    ]
    other = choose(world(scored()), Request(sample=6, seed=1))
    assert {row.id for row in other.rows} != {row.id for row in chosen.rows}
    assert chosen.fates == {"dropped": 50, "kept": 150} and chosen.matching == 200
    assert chosen.reasons == {"perplexity.tail": 50}


def test_what_one_fate_does_not_fill_the_others_get() -> None:
    rows = [{"fate": "dropped", "reasons": ["a.b"]}] + [{} for _ in range(20)]
    fates = [row.fate for row in choose(world(rows), Request(sample=6)).rows]
    assert fates == ["dropped"] + ["kept"] * 5
    assert len(choose(world(rows), Request(sample=100)).rows) == 21
    assert choose(world([]), Request()).rows == []


def test_near_the_limit_on_both_sides() -> None:
    chosen = choose(world(scored()), Request(sample=4, near_limit=True))
    assert [row.score for row in chosen.rows] == [49, 48, 50, 51]


@pytest.mark.parametrize("rule", ["perplexity", "perplexity.tail", "tail"])
def test_a_rule_shows_what_it_dropped_beside_what_passes(rule: str) -> None:
    rows = [*scored(), *({"fate": "dropped", "reasons": ["langid.language"]} for _ in range(50))]
    chosen = choose(world(rows), Request(rules=(rule,), sample=8))
    assert {row.fate for row in chosen.rows} == {"dropped", "kept"}
    assert {reason for row in chosen.rows for reason in row.reasons} == {"perplexity.tail"}
    only = choose(world(rows), Request(rules=(rule,), fates=("dropped",), sample=8))
    assert {row.fate for row in only.rows} == {"dropped"} and only.matching == 50


def test_percentiles_are_of_the_language_and_an_estimate_where_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = Request(percentile=(25, 35), languages=("zh",), sample=100)
    chosen = choose(world(scored()), request)
    low, high = np.percentile(np.arange(0, 200, 2), [25, 35])
    assert chosen.scores == (low, high)
    assert {row.language for row in chosen.rows} == {"zh"}
    assert sorted(row.score or 0 for row in chosen.rows) == [50, 52, 54, 56, 58, 60, 62, 64, 66, 68]
    monkeypatch.setattr(choosing, "MOST_SCORES", 300)
    many = choose(world(scored(5_000), group=100), Request(percentile=(40, 60)))
    assert many.scores is not None
    assert many.scores == pytest.approx((2_000, 3_000), rel=0.15)
    assert choose(world([{}]), Request(percentile=(0, 50))).scores is None
