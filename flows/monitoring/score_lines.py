"""The benchmark table of terminal and dashboard, as texts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tasks.benchmarks.scores import (
    asked_words,
    chance_of,
    items_of_all,
    metrics,
    published,
    score_words,
)
from tasks.report.scores import Change

Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Model -> row (task, or `task/group`) -> metric -> value."""

Changes = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Model -> row -> metric -> [change against the first model, its error, whether it is paired]."""

_OPTIONAL = ("asked", "guessing", "published")


def score_lines(
    scores: Scores, changes: Changes, without: Collection[str] = (), *, before_change: str = ", "
) -> list[dict[str, str]]:
    """A line per task and metric: how it was asked, n, the score of guessing, a score with its
    standard error for each model (and the difference to the first with its 95 % interval), and
    published scores of the metric that counts. Columns that are empty in all lines are left out.

    `without`: rows that are not shown. `before_change`: what stands between score and difference.
    """
    keys = dict.fromkeys(
        (task, metric)
        for by_task in scores.values()
        for task, row in by_task.items()
        for metric in metrics(row)
        if task not in without
    )
    lines = []
    for task, metric in keys:
        rows = [by_task.get(task, {}) for by_task in scores.values()]
        chance = next((c for row in rows if (c := chance_of(row, metric)) is not None), None)
        known = published(rows, task, metric)
        changed = {name: by_task.get(task, {}).get(metric) for name, by_task in changes.items()}
        lines.append(
            {
                "task": task,
                "metric": metric,
                "asked": next((words for row in rows if (words := asked_words(row, metric))), ""),
                "n": items_of_all(rows, metric),
                "guessing": "" if chance is None else f"{chance:.3f}",
            }
            | {
                model: _cell(row, metric, changed.get(model), before_change)
                for model, row in zip(scores, rows, strict=True)
            }
            | {"published": ", ".join(f"{value:.3f} {name}" for name, value in known.items())}
        )
    empty = [name for name in _OPTIONAL if not any(line[name] for line in lines)]
    return [{name: text for name, text in line.items() if name not in empty} for line in lines]


def _cell(row: Mapping[str, Any], metric: str, changed: Any, before: str) -> str:
    words = score_words(row, metric)
    return words if changed is None else f"{words}{before}{Change(*changed).with_interval()}"
