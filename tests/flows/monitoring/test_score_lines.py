"""The benchmark table says how tasks were asked, chance, differences and published figures."""

from __future__ import annotations

from typing import Any

import pytest

from flows.monitoring.console import score_table
from flows.monitoring.score_lines import score_lines

ABOUT = {"shots": 5, "bos": False, "metric": "acc", "suite": "llama-3-6b"}


def row(score: float, **more: Any) -> dict[str, Any]:
    return {"acc": score, "acc_stderr": 0.01, "n": 1000, "chance": 0.25} | more


def test_a_line_has_all_that_a_reader_needs() -> None:
    scores = {
        "base": {"mmlu": row(0.26, about=ABOUT), "mmlu/law": row(0.3)},
        "more": {"mmlu": row(0.55, about=ABOUT), "mmlu/law": row(0.5)},
    }
    changes = {"more": {"mmlu": {"acc": [0.29, 0.02, True]}}}
    (line, law) = score_lines(scores, changes)
    assert line == {
        "task": "mmlu",
        "metric": "acc",
        "asked": "5 shots, no BOS, harness",
        "n": "1,000",
        "guessing": "0.250",
        "base": "0.260 ± 0.010 (chance)",
        "more": "0.550 ± 0.010, +0.290 [+0.251, +0.329]",
        "published": "0.550 Llama-3-6B-v0.1, 0.667 Llama-3-8B",
    }
    assert law["asked"] == "" == law["published"]
    table = score_table(scores, changes)
    assert table is not None
    assert [column.header for column in table.columns] == list(line)
    assert score_lines(scores, changes, ["mmlu/law"]) == [line]


def test_columns_that_say_nothing_are_left_out() -> None:
    scores = {"base": {"heldout/web": {"bits_per_byte": 1.5, "n": 40, "characters": 90_000}}}
    (line,) = score_lines(scores, {})
    assert list(line) == ["task", "metric", "n", "base"]


@pytest.mark.parametrize(
    ("metric", "prefix", "protocol"),
    [
        ("first_token_acc", "first_token_", "first-token"),
        ("exact_match_last", "exact_match_", "exact-match"),
        ("any", "any_", "any"),
        ("mc2", "", "harness"),
    ],
)
def test_every_metric_has_the_counts_of_its_protocol(
    metric: str, prefix: str, protocol: str
) -> None:
    given = {metric: 0.9, f"{prefix}n": 7, f"{prefix}not_asked": 2, "about": ABOUT}
    (line,) = score_lines({"m": {"t": {"n": 3} | given}}, {})
    assert line["n"] == "7, 2 not asked"
    assert line["asked"].endswith(protocol)
