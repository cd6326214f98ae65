"""What the terminal shows of a running stage."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from flows.monitoring.console import Terminal, scores_in_words
from infra.context import WARNING


@pytest.mark.parametrize("terminal", [False, True])
def test_what_begins_to_go_wrong_is_told_at_once_and_once(terminal: bool) -> None:
    """A loss can rise and fall between two progress lines, and the run end well."""
    step: Any = SimpleNamespace(id="training/a", why="never built")
    out = io.StringIO()
    console = Console(file=out, width=200, force_terminal=terminal, force_interactive=False)
    bad = f"tokens, {WARNING}: the loss is 9.00"
    with Terminal(console) as shown:
        shown.started(step)
        for done, unit in enumerate(["tokens", bad, bad, "tokens", bad, "tokens"], 1):
            shown.progressed(step, done, 10, unit)
    lines = [line for line in out.getvalue().splitlines() if f"of 10 {bad}" in line]
    assert [line.split(" of ")[0].split()[-1] for line in lines] == ["2", "5"]


def test_an_evaluation_ends_with_its_first_scores() -> None:
    text = {"bits_per_byte": 2.25, "bits_per_byte_stderr": 0.026, "tokens_per_byte": 0.3, "n": 35}
    quiz = {"acc": 0.5, "acc_norm": 0.6, "n": 1200}
    scores = {"quiz": quiz, "quiz/law": quiz, "heldout/de": text, "heldout/en": text}
    assert scores_in_words(scores) == (
        "quiz acc 0.500 (n = 1,200), heldout/de bits_per_byte 2.250 ± 0.026 (n = 35), and 1 more"
    )
    assert scores_in_words({}) == ""
