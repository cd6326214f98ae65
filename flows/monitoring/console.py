"""Shows a run on a terminal: progress bars, or plain lines where stderr is not a terminal. Also
the tables that commands print.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from flows.monitoring.listener import Listener
from flows.monitoring.score_table import PLAIN_WIDTH
from flows.monitoring.stage_rows import together
from flows.planning.plan import Plan, Step
from infra.context import WARNING
from infra.store import Artifact
from infra.visible import visible
from tasks.benchmarks.scores import counting, items_of_all, score_words

PLAIN_EVERY_S = 15.0
"""Seconds between two progress lines of one stage where there is no terminal."""


class PlainConsole(Console):
    """A console that takes nothing it prints for an order: square brackets are no markup, and
    controls in it are shown (`infra.visible`).
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """See `rich.console.Console`; before it is measured."""
        return super().render_str(visible(text), **settings)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """See `rich.console.Console`."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else visible(segment.text)
            yield segment if text == segment.text else Segment(text, segment.style)


def result_console() -> Console:
    """A console on stdout, as wide as the terminal, or `PLAIN_WIDTH` for a file or a pipe."""
    console = PlainConsole()
    return console if console.is_terminal else PlainConsole(width=PLAIN_WIDTH)


class Terminal(Listener):
    """Progress bars while stages run, and a line for each that has ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._printed_at: dict[str, float] = {}
        self._warned: dict[str, bool] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Terminal:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def _line(self, text: str) -> None:
        """Print a line as it is: a terminal breaks it, and a file keeps it whole."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def planned(self, plan: Plan) -> None:
        hits = sum(step.state == "hit" for step in plan.steps.values())
        self._console.print(
            f"{plan.recipe}: {len(plan.steps)} stages, {hits} in the store, {len(plan.to_run())} "
            "to run"
        )

    def started(self, step: Step) -> None:
        with self._lock:
            self._tasks[step.id] = self._bars.add_task(step.id, total=None, unit="")
            self._printed_at[step.id] = time.monotonic()
        if not self._console.is_terminal:
            self._line(f"  start   {step.id}  ({step.why})")

    def progressed(self, step: Step, done: float, total: float, unit: str) -> None:
        self._bars.update(self._tasks[step.id], completed=int(done), total=int(total), unit=unit)
        warning_begins = WARNING in unit and not self._warned.get(step.id)
        self._warned[step.id] = WARNING in unit
        due = time.monotonic() - self._printed_at[step.id] > PLAIN_EVERY_S
        if warning_begins or (due and not self._console.is_terminal):
            self._printed_at[step.id] = time.monotonic()
            self._line(f"  ...     {step.id}  {done:,.0f} of {total:,.0f} {unit}")

    def waiting(self, step: Step, holder: dict[str, Any]) -> None:
        where = f"process {holder['pid']} on {holder['host']}"
        self._line(f"  wait    {step.id}  another run is building it ({where})")

    def finished(self, step: Step, artifact: Artifact, seconds: float) -> None:
        self._bars.remove_task(self._tasks[step.id])
        self._ended("built", "green", f"{step.id}  {seconds:.1f} s  {headline(artifact)}")

    def found(self, step: Step, artifact: Artifact) -> None:
        self._ended("hit", "green", f"{step.id}  {step.why}")

    def failed(self, step: Step, error: BaseException) -> None:
        self._bars.remove_task(self._tasks[step.id])
        self._ended("failed", "red", step.id)

    def _ended(self, how: str, colour: str, what: str) -> None:
        line = Text.assemble("  ", (f"{how:<6}", colour), f"  {what}")
        self._console.print(line, soft_wrap=True)


def headline(artifact: Artifact) -> str:
    """A finished stage in a few words: its statistic `headline`, else its first scores, else its
    document counts.
    """
    stated = artifact.statistics.get("headline")
    if stated:
        return str(stated)
    if artifact.stage == "evaluation":
        return scores_in_words(artifact.statistics.get("scores", {}))
    ledger = artifact.ledger
    if not ledger.sources():
        return ""
    return f"{ledger.documents('kept'):,} of {ledger.documents('read'):,} documents"


def scores_in_words(scores: Mapping[str, Mapping[str, Any]], limit: int = 2) -> str:
    """The metric that counts of the first tasks and texts, each with the number of its items."""
    first = [
        (task, row, metric)
        for task, row in scores.items()
        if task.rpartition("/")[0] not in scores
        for metric in counting(row)[:1]
    ]
    shown = [
        f"{task} {metric} {score_words(row, metric)} (n = {items_of_all([row], metric)})"
        for task, row, metric in first[:limit]
    ]
    more = len(first) - len(shown)
    return ", ".join([*shown, *([f"and {more} more"] if more else [])])


def stage_table(stages: list[dict[str, Any]], expected: Mapping[str, float] | None = None) -> Table:
    """The stages of a plan or a run as a table. `expected`: `stage/name` -> seconds that a stage is
    expected to take.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("stage", "result", "version", "seconds", "why"):
        table.add_column(
            column, justify="right" if column == "seconds" else "left", overflow="fold"
        )
    colours = {
        "hit": "dim",
        "built": "green",
        "run": "cyan",
        "failed": "red",
        "unresolved": "yellow",
        "skipped": "dim",
    }
    about = expected or {}
    known = [{"expected": about.get(f"{row['stage']}/{row['name']}"), **row} for row in stages]
    for row in together(known):
        seconds, more = row.get("seconds"), row["count"]
        foreseen = _foreseen(row["expected"]) if more == 1 else ""
        table.add_row(
            f"{row['stage']}/{row['name']}",
            Text(row["result"], colours[row["result"]]),
            f"{more} of them" if more > 1 else row["version"] or "?",
            f"{seconds:.1f}" if seconds is not None else foreseen,
            row["why"],
        )
    return table


def _foreseen(seconds: float | None) -> str:
    return "" if seconds is None else f"≈ {seconds:,.{0 if seconds >= 10 else 1}f}"


def scale_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A prediction: numbers to the right; a column that says nothing is left out."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    for index in shown:
        table.add_column(columns[index], justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[index]) for index in shown))
    return table


def cluster_table(clusters: list[dict[str, Any]]) -> Table:
    """Duplicate clusters, the largest first: the document kept, the number of documents, and the
    lowest similarity among the listed ones.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "kept", "source", "documents", "exact", "near", "least similar"):
        table.add_column(
            column, justify="left" if column in ("kept", "source") else "right", overflow="fold"
        )
    for number, row in enumerate(clusters, 1):
        lowest = min((member["similarity"] for member in row["members"]), default=1.0)
        counts = (f"{row[name]:,}" for name in ("size", "exact", "near"))
        table.add_row(
            f"{number}",
            row["representative"],
            row["crawl"] or row["source"],
            *counts,
            f"{lowest:.3f}",
        )
    return table


def marked(difference: str) -> Text:
    """A difference, as `tasks.duplicates.inspect.diff_lines` writes it, in colour."""
    text = Text(difference)
    text.highlight_regex(r"(?s)\[-.*?-\]", "red")
    text.highlight_regex(r"(?s)\{\+.*?\+\}", "green")
    return text
