"""Where two JSON values differ."""

from __future__ import annotations

import pytest

from infra.differences import differences

CASES = [
    ({"a": 1}, {"a": 1}, []),
    ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, [("a.b.1.c", 2, 3)]),
    ({"a": 1}, {"b": 2}, [("a", 1, None), ("b", None, 2)]),
    ({"a": [1]}, {"a": [1, 2]}, [("a", [1], [1, 2])]),
    ({"a": {"b": 1}}, {"a": 4}, [("a", {"b": 1}, 4)]),
    (1, 2, [("", 1, 2)]),
]


@pytest.mark.parametrize(("before", "after", "expected"), CASES)
def test_every_leaf_that_differs_is_named(before: object, after: object, expected: object) -> None:
    assert list(differences(before, after)) == expected


def test_a_path_may_start_with_a_section() -> None:
    assert list(differences([1], [2], "pins")) == [("pins.0", 1, 2)]
