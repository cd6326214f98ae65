"""What the terminal shows of a running stage."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from flows.monitoring.console import Terminal
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
