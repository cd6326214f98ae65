"""The curve against tokenizers that really are cut off at each size; the knee's rule and its
stability.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.tokenizer.curve import knee, sizes_to_show, tokens_by_size, uses_when_last
from tasks.tokenizer.learn import LearnedStep


def steps(saved: list[int]) -> list[LearnedStep[str]]:
    return [LearnedStep("x", 0, 0, amount) for amount in saved]


BEFORE = 17_000_000
"""Tokens that Llama-2 spends on eleven million Chinese characters."""


def falling(power: float) -> list[int]:
    """Zipf's law: 60,000 steps that save 10 of 17 million tokens, about what real text gives."""
    weights = [1 / (rank + 10) ** power for rank in range(60_000)]
    total = sum(weights)
    return [int(10_000_000 * weight / total) for weight in weights]


@pytest.mark.parametrize("power", [1.05, 1.15, 1.3])
def test_the_knee_does_not_move_with_the_largest_size_tried(power: float) -> None:
    saved = falling(power)
    found = {knee(steps(saved[:most]), BEFORE) for most in (40_000, 50_000, 60_000)}
    assert len(found) == 1
    assert 10_000 < found.pop() < 40_000


def test_the_knee_is_where_the_next_thousand_save_half_a_percent() -> None:
    saved = falling(1.15)
    kept = knee(steps(saved), BEFORE)
    left = BEFORE - sum(saved[:kept])
    assert (saved[kept] - 1) * 1_000 < 0.005 * left <= (saved[kept - 1] - 1) * 1_000
    assert math.isclose(sum(saved[kept : kept + 1_000]) / left, 0.005, rel_tol=0.15)


def test_more_gain_asked_for_gives_a_smaller_size_and_more_text_about_the_same() -> None:
    saved = falling(1.15)
    kept = [knee(steps(saved), BEFORE, gain=gain) for gain in (0.002, 0.005, 0.02)]
    assert kept == sorted(kept, reverse=True) and len(set(kept)) == 3
    assert knee(steps([10 * amount for amount in saved]), 10 * BEFORE) == pytest.approx(
        kept[1], rel=0.05
    )
    tenth = steps([amount // 10 for amount in saved])
    assert knee(tenth, BEFORE // 10) < 1.1 * kept[1], (
        "little text does not make the vocabulary larger"
    )


def test_one_weak_step_before_the_knee_does_not_end_the_curve() -> None:
    saved = falling(1.15)
    kept = knee(steps(saved), BEFORE)
    saved[kept - 200] //= 2  # a run of one character saves half of what its pair counts
    assert kept - 1 <= knee(steps(saved), BEFORE) <= kept + 1


def test_a_knee_at_the_ends() -> None:
    assert knee([], 100) == 0
    assert knee(steps([1]), 1_000_000) == 0, "no piece is worth its row"
    assert knee(steps([50, 40]), 100) == 2, "all are"


def taken_apart(ids: list[int], parts: dict[int, tuple[int, ...]], size: int) -> list[int]:
    """The slow way: every token at or beyond `size` replaced by its parts until none is left."""
    while any(token_id >= size for token_id in ids):
        ids = [
            part
            for token_id in ids
            for part in (parts[token_id] if token_id >= size else (token_id,))
        ]
    return ids


@st.composite
def pieces(draw: Callable[..., int]) -> dict[int, tuple[int, ...]]:
    parts: dict[int, tuple[int, ...]] = {}
    for token_id in range(5, 5 + draw(st.integers(1, 12))):
        width = draw(st.integers(2, 3))
        parts[token_id] = tuple(draw(st.integers(0, token_id - 1)) for _ in range(width))
    return parts


@given(pieces(), st.data())
def test_counts_at_every_size_equal_taking_tokens_apart(
    parts: dict[int, tuple[int, ...]], data: st.DataObject
) -> None:
    ids = data.draw(st.lists(st.integers(0, 4 + len(parts)), max_size=20))
    uses = Counter(ids)
    sizes = range(5, 6 + len(parts))
    assert tokens_by_size(uses, parts) == [len(taken_apart(ids, parts, size)) for size in sizes]
    assert uses_when_last(uses, parts) == {
        token_id: taken_apart(ids, parts, token_id + 1).count(token_id) for token_id in parts
    }


def test_sizes_hold_both_ends() -> None:
    assert sizes_to_show(100, 103) == [100, 101, 102, 103]
    assert sizes_to_show(32_000, 69_104)[::32] == [32_000, 69_104]
    assert sizes_to_show(7, 7) == [7]
