"""`limit: {per_group: N}`: which items are asked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.benchmarks.model import Benchmark
from tasks.evaluation.choosing import chosen
from tasks.evaluation.items import questions
from tasks.evaluation.stage import EvaluationParameters, GroupLimit
from tests.tasks.evaluation.test_evaluation import do, write_items

ITEMS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("0123456789")), max_size=40)


@given(ITEMS, st.integers(1, 6))
def test_each_group_has_n_items_and_a_larger_choice_has_those_of_a_smaller_one(
    items: list[tuple[str, str]], n: int
) -> None:
    taken = chosen("task", items, n)
    assert taken == sorted(set(taken))
    sizes = Counter(group for group, _ in items)
    assert Counter(items[number][0] for number in taken) == {
        group: min(n, size) for group, size in sizes.items()
    }
    assert set(taken) <= set(chosen("task", items, n + 1))


def test_the_choice_is_by_id_and_not_by_place_in_the_file() -> None:
    items = [("g", f"q{number}") for number in range(50)]
    taken = {items[number][1] for number in chosen("task", items, 10)}
    turned = items[::-1]
    assert {turned[number][1] for number in chosen("task", turned, 10)} == taken
    assert taken != {f"q{number}" for number in range(10)}
    assert {items[number][1] for number in chosen("other", items, 10)} != taken


def test_items_of_every_group_are_asked_in_the_order_of_the_file(tmp_path: Path) -> None:
    benchmark = write_items(tmp_path / "quiz.jsonl", 31, limit=30)
    asked = questions(
        "quiz",
        benchmark,
        benchmark.resolved_style(),
        [tmp_path / "quiz.jsonl"],
        [],
        shots=0,
        limit=GroupLimit(per_group=4),
    )
    assert Counter(item.group for item in asked) == {"known": 4, "control": 4, "leaked": 4}
    numbers = [int(item.id.removeprefix("q")) for item in asked]
    assert numbers == sorted(numbers) and max(numbers) < 30 and numbers != list(range(12))


def test_rows_of_groups_say_how_many_items_they_are_of(checkpoint: Path, tmp_path: Path) -> None:
    given = {"quiz": write_items(tmp_path / "quiz.jsonl", 30)}
    parameters = EvaluationParameters(benchmarks=given, limit=GroupLimit(per_group=3))
    results = do(checkpoint, tmp_path / "out", parameters)
    assert {row: values["n"] for row, values in results.items()} == {
        "quiz": 9,
        "quiz/known": 3,
        "quiz/control": 3,
        "quiz/leaked": 3,
    }


def test_a_limit_is_a_number_or_per_group_and_more_than_nothing() -> None:
    assert EvaluationParameters.model_validate({"limit": {"per_group": 2}}).limit == GroupLimit(
        per_group=2
    )
    assert EvaluationParameters(limit=5).identity()["limit"] == 5
    for wrong in ({"per_group": 0}, 0, {"per_task": 3}):
        with pytest.raises(ValueError, match="limit"):
            EvaluationParameters.model_validate({"limit": wrong})
    assert Benchmark(format="multiple-choice", paths=("x",), limit=3).limit == 3
