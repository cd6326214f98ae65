"""Foreign text on a terminal."""

from __future__ import annotations

import io
import json

import pytest
from rich.table import Table

from flows.monitoring.console import PlainConsole
from infra.visible import visible

OSC, CSI, C1 = "\x1b]0;title\x07", "\x1b[2J", "\x9b31m"


@pytest.mark.parametrize("text", [OSC, CSI, C1, "a\rb", "\u202etxt.exe", "a\x08", "\x7f", "\x00"])
def test_what_a_terminal_obeys_is_shown(text: str) -> None:
    assert visible(text).isprintable()
    assert json.loads(f'"{visible(text)}"') == text


@pytest.mark.parametrize(
    "text", ["two\nlines\tand a tab", "中文 \U0001f600 é", "می\u200cخواهم", ""]
)
def test_other_text_stays(text: str) -> None:
    assert visible(text) == text


def test_json_means_the_same() -> None:
    value = {"url": f"http://a/{OSC}{C1}", "text": "\u202eabc\n"}
    line = visible(json.dumps(value, ensure_ascii=False))
    assert line.isprintable() and json.loads(line) == value


@pytest.mark.parametrize("terminal", [False, True])
def test_a_console_takes_nothing_for_an_order(terminal: bool) -> None:
    out = io.StringIO()
    console = PlainConsole(file=out, width=200, force_terminal=terminal)
    table = Table("file")
    table.add_row(f"[/red]a{OSC}b")
    console.print(table)
    console.print(f"[bold] and [/nothing] {CSI}{C1}", highlight=False)
    said = out.getvalue()
    assert "[/red]a\\u001b]0;title" in said and "[bold] and [/nothing] \\u001b[2J\\u009b31m" in said
    assert OSC not in said and CSI not in said and C1 not in said
