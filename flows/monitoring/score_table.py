"""The benchmark table of the terminal: 80 columns hold two models and published figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from flows.monitoring.score_lines import Changes, Scores, score_lines
from tasks.benchmarks.scores import published

MOST_GROUP_ROWS = 40
"""The rows of a task's groups (subjects, positions) are left out if they are more than this."""

PLAIN_WIDTH = 160
"""Width in columns of tables that go to a file or a pipe."""

_NUMBERS = ("n", "guessing")


def score_table(
    scores: Scores, changes: Changes | None = None, width: int = PLAIN_WIDTH
) -> Group | None:
    """A line per task and metric (`flows.monitoring.score_lines`); None without scores.

    A difference stands below its score. Each published system has a narrow column with a number,
    which is named below the table, as is how the tasks were asked. In what is wider than `width`
    columns, remarks on scores get a line of their own, and then published figures a table.
    """
    if not any(scores.values()):
        return None
    names = dict.fromkeys(task for by_task in scores.values() for task in by_task)
    group_rows = Counter(task.rpartition("/")[0] for task in names if "/" in task)
    # a row per subject (CMMLU has 67) or per position in long text: the report shows them
    many = [task for task in names if group_rows[task.rpartition("/")[0]] > MOST_GROUP_ROWS]
    lines = score_lines(
        scores, changes or {}, [task for task in many if "/" in task], before_change="\n"
    )
    figures = [_figures(scores, line) for line in lines]
    systems = list(dict.fromkeys(system for known in figures for system in known))
    told = [Text(words) for words in (*_asked(lines), *_named(systems))]
    beside = _table(scores, lines, figures, systems)
    if _width(beside) <= width:
        return Group(beside, *told)
    broken = [{name: text.replace(" (", "\n(") for name, text in line.items()} for line in lines]
    beside = _table(scores, broken, figures, systems)
    if _width(beside) <= width or not systems:
        return Group(beside, *told)
    published = [(line, known) for line, known in zip(lines, figures, strict=True) if known]
    below = _table(
        {}, [line for line, _ in published], [known for _, known in published], systems, "Published"
    )
    return Group(_table(scores, broken, figures, []), below, *told)


def _table(
    scores: Scores,
    lines: Sequence[Mapping[str, str]],
    figures: Sequence[Mapping[str, float]],
    systems: Sequence[str],
    title: str = "Benchmarks",
) -> Table:
    """The table of `scores`, without columns of what is told below it."""
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
        title=title,
        title_justify="left",
    )
    columns = ("task", "metric", *(_NUMBERS if scores else ()), *scores)
    shown = [name for name in columns if lines and name in lines[0]]
    for column in shown:
        right = column in scores or column in _NUMBERS
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for number in range(1, len(systems) + 1):
        table.add_column(f"({number})", justify="right")
    for line, known in zip(lines, figures, strict=True):
        theirs = (f"{known[system]:.3f}" if system in known else "" for system in systems)
        table.add_row(*(line[name] for name in shown), *theirs)
    return table


def _width(table: Table) -> int:
    console = Console(width=10_000)
    return Measurement.get(console, console.options, table).maximum


def _figures(scores: Scores, line: Mapping[str, str]) -> Mapping[str, float]:
    rows: list[Mapping[str, Any]] = [found.get(line["task"], {}) for found in scores.values()]
    return published(rows, line["task"], line["metric"])


def _asked(lines: Sequence[Mapping[str, str]]) -> list[str]:
    """How the tasks were asked: in one line where that is the same for all."""
    tasks: dict[str, dict[str, None]] = {}
    for line in lines:
        if words := line.get("asked"):
            tasks.setdefault(words, {})[line["task"]] = None
    if len(tasks) == 1:
        return [f"asked with {next(iter(tasks))}"]
    return [f"asked with {words}: {', '.join(names)}" for words, names in tasks.items()]


def _named(systems: Sequence[str]) -> list[str]:
    named = (f"({number}) {system}" for number, system in enumerate(systems, 1))
    return [f"published: {', '.join(named)}"] if systems else []
