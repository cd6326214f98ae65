"""The line that fastText sees: characters of unspaced scripts apart, as a pattern would have it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.scorers.prepare import apart, prepare
from tasks.text.scripts import UNSPACED_CLASS, UNSPACED_RANGES

_UNSPACED = re.compile(f"[{UNSPACED_CLASS}]+")


def by_pattern(line: str) -> str:
    """What `apart` is to do, and did before."""
    return _UNSPACED.sub(lambda run: f" {' '.join(run[0])} ", line)


EDGES = [chr(at) for _, first, last in UNSPACED_RANGES for at in (first - 1, first, last, last + 1)]


@given(
    st.text(st.sampled_from([*EDGES, *"ab \t\0\u3000é", "\U0001f600", "\U0010ffff"]), min_size=1)
)
def test_apart_is_the_patterns_substitution(line: str) -> None:
    assert apart(line) == by_pattern(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        (" \n\u3000", ""),
        ("It's a test. Done!\nNow", "it's a test  done  now"),
        ("你好，world", "你 好 ，world"),
        ("ab\ud800中", "ab\ufffd\ufffd\ufffd 中"),
        ("\u2e80 a", "\u2e80 a"),  # a radical alone is not looked for
    ],
)
def test_lines(text: str, line: str) -> None:
    assert prepare(text, "words", 10_000) == line
    assert prepare(text, "plain", 2) == text[:2].replace("\n", " ").strip()
