"""Scores of two runs beside each other, with the change and its error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.benchmarks.samples import Items, Key, read_items
from tasks.benchmarks.scores import counting, items_of_all, metrics
from tasks.report.blocks import Block, Cell, Fold, Section, Table, Text, Value, section, table
from tasks.report.scores import Change, change, is_whole
from tasks.report.side import Side


@dataclass(frozen=True)
class ScoreRow:
    """A score of both final models; None where one has no value."""

    task: str
    metric: str
    n: str
    before: float | None
    after: float | None
    change: Change | None
    headline: bool
    """Whether it is the metric that counts of a whole task."""


def score_changes(
    sides: tuple[Side, Side], numbers: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> list[ScoreRow]:
    """Every score of the final models, tasks in the order of the second run."""
    found = [
        given["scores"].get(side.final, {}) for side, given in zip(sides, numbers, strict=True)
    ]
    items: list[Mapping[Key, Items]] = [
        read_items(evaluated[-1]) if (evaluated := side.inputs.get("evaluation", ())) else {}
        for side in sides
    ]
    rows = []
    for task in dict.fromkeys([*found[1], *found[0]]):
        before, after = (given.get(task, {}) for given in found)
        names = list(dict.fromkeys([*metrics(after), *metrics(before)]))
        whole = is_whole(task, {"": {**found[0], **found[1]}})
        first = next(iter(counting(after) or counting(before)), None)
        for metric in names:
            both = (items[0].get((task, metric)), items[1].get((task, metric)))
            rows.append(
                ScoreRow(
                    task,
                    metric,
                    items_of_all([before, after], metric),
                    before.get(metric),
                    after.get(metric),
                    change(before, after, metric, both),
                    whole and metric == first,
                )
            )
    return sorted(rows, key=lambda row: not row.headline)


def scores(sides: tuple[Side, Side], rows: Sequence[ScoreRow]) -> Section | None:
    """Scores of the final models, groups folded below."""
    if not rows:
        return None
    told = (
        "Scores of the last model of each run, and the change ± its error. Where both were "
        "given the same items, that is the error of the items' own differences (paired)."
    )
    shown = [row for row in rows if row.headline]
    rest = [row for row in rows if not row.headline]
    blocks: list[Block] = [Text(told), _score_table("Scores", sides, shown)]
    if rest:
        blocks.append(Fold("Other metrics and groups", (_score_table("Others", sides, rest),)))
    return section("Scores", *blocks)


def _score_table(caption: str, sides: tuple[Side, Side], rows: Sequence[ScoreRow]) -> Table:
    lines: list[tuple[Value, ...]] = []
    for row in rows:
        values = [None if value is None else f"{value:.3f}" for value in (row.before, row.after)]
        changed = (
            None
            if row.change is None
            else Cell(
                f"{row.change}{', paired' if row.change.paired else ''}",
                text_tone=row.change.tone(row.metric),
            )
        )
        lines.append((row.task, row.metric, row.n, *values, changed))
    columns = ["task", "metric", "#n", *(f"#{side.label}" for side in sides), "#change"]
    return table(caption, columns, lines)
