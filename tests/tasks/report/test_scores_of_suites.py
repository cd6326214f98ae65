"""The report's table of a suite: how it was asked, intervals, published figures, their source."""

from __future__ import annotations

from typing import Any

from tasks.report.blocks import Cell, Text
from tasks.report.scores import benchmarks, score_table

ABOUT = {"shots": 25, "bos": True, "metric": "acc_norm", "suite": "llama-3-6b"}


def row(score: float) -> dict[str, Any]:
    return {"acc_norm": score, "acc_norm_stderr": 0.01, "n": 1000, "about": ABOUT}


NUMBERS: dict[str, Any] = {
    "scores": {
        "base": {"arc-challenge": row(0.25), "own": {"acc": 0.5, "n": 9}},
        "more": {"arc-challenge": row(0.5), "own": {"acc": 0.6, "n": 9}},
    },
    "changes": {"more": {"arc-challenge": {"acc_norm": [0.25, 0.01, True]}}},
    "chance": {"arc-challenge": {"acc_norm": 0.25}},
    "not_decontaminated": ["arc-challenge"],
    "notes": [],
}


def test_a_suites_table_has_published_figures_and_how_it_was_asked() -> None:
    table = score_table("Scores", ["arc-challenge", "own"], NUMBERS)
    assert [column.title for column in table.columns] == [
        "task",
        "metric",
        "n",
        "base",
        "more",
        "published",
    ]
    name, metric, n, base, more, published = table.rows[0]
    assert name == "arc-challenge *"
    assert isinstance(metric, Cell) and metric.small == "25 shots, BOS, harness"
    assert isinstance(n, Cell) and n.small == "guessing 0.250"
    assert isinstance(base, Cell) and base.text == "0.250 ± 0.010 (chance)"
    assert isinstance(more, Cell) and more.small == "+0.250 [+0.230, +0.270]"
    assert published == "0.602 Llama-3-6B-v0.1, 0.595 Llama-3-8B"
    assert table.rows[1][-1] == ""
    section = benchmarks(NUMBERS)
    assert section is not None
    said = [block.text for block in section.blocks if isinstance(block, Text)]
    assert any(words.startswith("Published figures of suite llama-3-6b:") for words in said)
    assert any("with its 95 % interval" in words for words in said)


def test_a_table_without_a_suite_has_no_column_for_it() -> None:
    table = score_table("Scores", ["own"], NUMBERS)
    assert [column.title for column in table.columns][-1] == "more"
