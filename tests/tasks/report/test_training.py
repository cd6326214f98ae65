"""The report's training section: curves, rows of its tables, samples."""

from __future__ import annotations

from typing import Any

from tasks.report.chart import Chart
from tasks.report.curves import curves
from tasks.report.training import category_rows, phase_rows, sample_rows


def step(number: int, **changes: Any) -> dict[str, Any]:
    """A line of metrics.jsonl."""
    return {
        "step": number,
        "tokens": 256 * number,
        "loss": 5.0 / number,
        "losses": {"en": 5.0 / number, "zh": 6.0 / number},
        "lr": 1e-3,
        "grad_norm": 1.0,
        "drawn": {"en": 3 * number, "zh": number},
        "due": {"en": 2.9 * number, "zh": 1.1 * number},
        "tokens_per_s": 1000.0 * number,
        "mfu": None,
        "memory": {"peak_rss": 1_500_000_000},
    } | changes


def evaluation(tokens: int, **bits: float | None) -> dict[str, Any]:
    """A line of evaluations.jsonl."""
    return {
        "tokens": tokens,
        "categories": {name: {"bits_per_byte": value} for name, value in bits.items()},
    }


def titles(charts: list[Chart]) -> list[str]:
    return [chart.title for chart in charts]


def test_every_curve_that_there_is_something_for() -> None:
    steps = {"one": [step(1), step(2)], "two": [step(3), step(4)]}
    drawn = curves(steps, {"one": [evaluation(0, en=2.5, zh=3.0)], "two": []})
    assert titles(drawn) == [
        "Loss by category",
        "Mixture, drawn and planned",
        "Held-out bits per byte",
        "Learning rate",
        "Gradient norm before clipping",
        "Speed",
        "Memory of the main rank",
    ]
    losses, mixture = drawn[:2]
    assert [label.text for label in losses.labels] == ["one", "two"]
    assert losses.legend == [("en", 0, False), ("zh", 1, False)]
    assert mixture.legend[-1] == ("planned", 5, True)
    assert "en from 5 at 0.000256 to 2.5 at 0.000512" in losses.description
    alone = [step(n, drawn={"en": 3 * n}, due={"en": 3.0 * n}) for n in (1, 2)]
    assert "Mixture, drawn and planned" not in titles(curves({"one": alone}, {"one": []}))
    known = {"one": [step(1, mfu=0.5)]}
    assert "Model FLOPs utilisation" in titles(curves(known, {"one": []}))


def test_metrics_of_earlier_versions_are_drawn_too() -> None:
    older = {name: value for name, value in step(1).items() if name not in ("due", "memory", "mfu")}
    drawn = curves({"one": [older, older | {"tokens": 512, "grad_norm": None}]}, {"one": []})
    assert len(drawn) == 5 and "Memory of the main rank" not in titles(drawn)


def test_nothing_is_drawn_of_no_steps() -> None:
    assert curves({"one": []}, {"one": []}) == []
    assert curves({}, {}) == []


def test_rows_of_phases() -> None:
    statistics = {
        "tokens": 1024,
        "steps": 3,
        "skipped_steps": 1,
        "empty_steps": 2,
        "overflowed_steps": 4,
        "loss_first": 5.0,
        "loss_last": 2.0,
        "time": {"effective": 0.9, "restarts": 1, "held_s": 60.0},
    }
    (row,) = phase_rows({"one": statistics}, {"one": [step(1), step(2), step(3)]})
    assert (row["skipped"], row["overflowed"]) == (3, 4)
    assert row["tokens_per_s"] == 2000.0 and row["mfu"] is None
    assert row["memory"] == {"process": 1.5} and row["effective"] == 0.9
    (bare,) = phase_rows({"one": {"tokens": 5}}, {"one": []})
    assert bare["tokens_per_s"] is None and bare["memory"] == {} and bare["seconds"] is None


def test_rows_of_categories_name_those_that_are_only_held_out() -> None:
    statistics = {"rows": {"en": 30}, "epochs": {"en": 1.5}, "loss_tokens": {"en": 900}}
    measured = [evaluation(0, en=2.5, zh=3.0), evaluation(9, en=2.0, zh=None)]
    rows = category_rows({"one": statistics}, {"one": measured})
    assert [
        (row["category"], row["rows"], row["bits_first"], row["bits_last"]) for row in rows
    ] == [
        ("en", 30, 2.5, 2.0),
        ("zh", None, 3.0, 3.0),
    ]
    assert rows[0]["epochs"] == 1.5 and rows[0]["loss_tokens"] == 900


def test_samples_show_the_first_and_the_last_of_each_prompt() -> None:
    def sample(tokens: int, prompt: str) -> dict[str, Any]:
        return {
            "tokens": tokens,
            "prompt": prompt,
            "greedy": f"{prompt} g{tokens}",
            "sampled": f"{prompt} s{tokens}",
        }

    found = sample_rows(
        {"one": [sample(n, p) for n in (0, 5) for p in ("a", "b")], "two": [sample(9, "a")]}
    )
    first, second = found
    assert [(row["phase"], row["greedy"]) for row in first["shown"]] == [
        ("one", " g0"),
        ("two", " g9"),
    ]
    assert [row["tokens"] for row in first["between"]] == [5]
    assert second["between"] == [] and len(second["shown"]) == 2
