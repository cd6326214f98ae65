"""The benchmark table says how tasks were asked, chance, differences and published figures."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from flows.monitoring.score_lines import score_lines
from flows.monitoring.score_table import score_table
from tasks.benchmarks import suites

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


def printed(scores: dict[str, Any], changes: dict[str, Any], width: int) -> list[str]:
    written = io.StringIO()
    Console(width=width, file=written).print(score_table(scores, changes, width))
    return [line.rstrip() for line in written.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_s_table_breaks_no_number(width: int) -> None:
    suite = suites.suite("tinyllama")
    names = [*suite.tasks]
    figures = " " + " ".join(f"{value:.3f}" for value in suite.figures("boolq").values())
    about = {"shots": 0, "bos": True, "metric": "acc", "suite": "tinyllama"}
    base = {name: row(0.263, about=about) for name in names}
    lines = printed({"base": base}, {}, width)
    columns = ["task", "metric", "n", "guessing", "base"]
    systems = [f"({number})" for number in range(1, len(suite.published) + 1)]
    if width == 120:
        assert lines[1].split() == [*columns, *systems]
        (boolq,) = (line for line in lines if line.startswith("boolq "))
        assert boolq.endswith(f"0.263 ± 0.010 (chance){figures}")
    told = " ".join(lines)
    first = next(iter(suite.published))
    assert f"asked with 0 shots, BOS, harness published: (1) {first}, (2)" in told

    more = {name: row(0.5, about=about) for name in names}
    changes = {"more": {name: {"acc": [0.29, 0.02, True]} for name in names}}
    lines = printed({"base": base, "more": more}, changes, width)
    assert max(map(len, lines)) <= width
    assert sum(line.endswith("+0.290 [+0.251, +0.329]") for line in lines) == len(names)
    assert sum("0.263 ± 0.010" in line and "0.500 ± 0.010" in line for line in lines) == len(names)
    assert sum(line.endswith(figures) for line in lines) == 1
    assert "Published" in lines or width == 120


def test_tasks_that_are_asked_otherwise_are_named() -> None:
    rows = {"one": row(0.3, about=ABOUT), "two": row(0.3, about=ABOUT | {"shots": 1})}
    lines = printed({"base": rows}, {}, 80)
    assert "asked with 5 shots, no BOS, harness: one" in lines
    assert "asked with 1 shot, no BOS, harness: two" in lines
