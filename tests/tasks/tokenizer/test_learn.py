"""The learner against a slow one that recounts everything at every step."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.tokenizer.learn import FIRST_LOCKED, LearnedStep, learn

LETTERS = ["a", "b", "c", "d"]
MISSING = {"x": 3, "y": 2}


def slow_learn(words: list[tuple[list[int], int]], budget: int) -> list[LearnedStep[str]]:
    contents = list(LETTERS)
    locked = {
        FIRST_LOCKED - number: (char, tokens)
        for number, (char, tokens) in enumerate(MISSING.items())
    }
    live = [(list(symbols), count) for symbols, count in words]
    steps: list[LearnedStep[str]] = []
    while len(steps) < budget:
        saved: Counter[int] = Counter()
        for symbols, count in live:
            for symbol in symbols:
                if symbol in locked:
                    saved[symbol] += count * (locked[symbol][1] - 1)
            for left, right in pairwise(symbols):
                if left >= 0 and right >= 0 and len(contents[left] + contents[right]) <= 4:
                    saved[(left << 32) | right] += count
        best = min(((-amount, key) for key, amount in saved.items() if amount >= 2), default=None)
        if best is None:
            break
        new, key = len(contents), best[1]
        left, right = (-1, -1) if key < 0 else (key >> 32, key & 0xFFFFFFFF)
        contents.append(locked[key][0] if key < 0 else contents[left] + contents[right])
        fewer = 0
        for symbols, count in live:
            i = 0
            while i < len(symbols):
                if key < 0 and symbols[i] == key:
                    symbols[i] = new
                    fewer += count * (locked[key][1] - 1)
                elif key >= 0 and symbols[i : i + 2] == [left, right]:
                    symbols[i : i + 2] = [new]
                    fewer += count
                i += 1
        steps.append(LearnedStep(contents[-1], left, right, fewer))
    return steps


WORDS = st.lists(
    st.tuples(
        st.lists(
            st.sampled_from([0, 1, 2, 3, FIRST_LOCKED, FIRST_LOCKED - 1]), min_size=1, max_size=12
        ),
        st.integers(1, 4),
    ),
    max_size=8,
)


@settings(max_examples=300)
@given(WORDS, st.integers(0, 12))
def test_equals_the_slow_learner(words: list[tuple[list[int], int]], budget: int) -> None:
    fast = learn(
        words, LETTERS, budget, may_join=lambda content: len(content) <= 4, missing=MISSING
    )
    assert fast == slow_learn(words, budget)


def test_a_missing_character_competes_by_the_tokens_it_saves() -> None:
    words = [([0, 1], 5), ([FIRST_LOCKED, FIRST_LOCKED], 2)]
    steps = learn(words, LETTERS, 2, may_join=lambda content: True, missing=MISSING)
    assert [(step.content, step.saved) for step in steps] == [("x", 8), ("ab", 5)]
