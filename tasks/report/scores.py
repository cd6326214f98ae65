"""Benchmark scores as tables: changes with their errors, and scores no better than chance."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.benchmarks.samples import Answers, Items, Key, paired_change
from tasks.benchmarks.scores import (
    asked_words,
    is_guessing,
    items_of_all,
    lower_is_better,
    metrics,
    published,
    sources_of,
)
from tasks.report.blocks import (
    Block,
    Cell,
    Figure,
    Fold,
    Heading,
    Section,
    Table,
    Text,
    Tone,
    Value,
    section,
    table,
)
from tasks.report.chart import chart, coloured

Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Model -> row (task, or `task/group`) -> metric -> value."""

NO_SCORES = ("tokens_per", "padding_share")
"""Metrics that say how text is tokenized, not how well it is predicted."""

SMALLEST_CHANGE = 5e-4
"""Half of the last digit shown."""

LONG_TEXT = "long-text"
TEXTS = ("heldout/", "earlier/")
"""Rows of held-out text, of this crawl and of earlier ones."""

_BUCKET = re.compile(r"long-text/(?P<category>.+)/(?P<low>[0-9]+)-(?P<high>[0-9]+)")
"""How evaluation names a score of long text in one bucket of positions (bytes)."""


@dataclass(frozen=True)
class Change:
    """A difference of two scores. `paired`: its error is of the items' own differences."""

    value: float
    stderr: float | None
    paired: bool

    def tone(self, metric: str) -> Tone:
        """Better or worse, where it is beyond twice its error."""
        if abs(self.value) <= max(2 * (self.stderr or 0.0), SMALLEST_CHANGE):
            return "soft"
        return "up" if (self.value < 0) == lower_is_better(metric) else "down"

    def with_interval(self) -> str:
        """The change with its 95 % interval: "+0.340 [+0.247, +0.433]"."""
        if self.stderr is None:
            return str(self)
        low, high = (self.value + sign * 1.96 * self.stderr for sign in (-1, 1))
        return f"{self.value:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")

    def __str__(self) -> str:
        error = "" if self.stderr is None else f" ± {self.stderr:.3f}"
        return f"{self.value:+.3f}{error}".replace("-", "−")


def change(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    metric: str,
    given: tuple[Items | None, Items | None] = (None, None),
) -> Change | None:
    """How a metric changed between two rows; None where one of them has no value.

    `given`: the items of both, if they are known. Without, the error is that of independent scores,
    which is too large where both models were given the same items.
    """
    old, new = before.get(metric), after.get(metric)
    if old is None or new is None:
        return None
    if found := paired_change(*given):
        difference, error = found
        if math.isclose(difference, new - old, abs_tol=2e-6):  # else they were given other items
            return Change(new - old, error, True)
    errors = [row.get(f"{metric}_stderr") for row in (before, after)]
    stated = [error for error in errors if error is not None]
    return Change(new - old, math.hypot(*stated) if len(stated) == 2 else None, False)


def changes(
    scores: Scores, items: Mapping[str, Mapping[Key, Items]]
) -> dict[str, dict[str, dict[str, list[Any]]]]:
    """Model -> row -> metric -> [change against the first model, its error, whether it is paired].

    `items`: model -> what it was given.
    """
    first = next(iter(scores), None)
    found: dict[str, dict[str, dict[str, list[Any]]]] = {}
    for model in [name for name in scores if name != first]:
        for row, values in scores[model].items():
            before = scores[first].get(row, {}) if first else {}
            for metric in metrics(values):
                given = (
                    items.get(first or "", {}).get((row, metric)),
                    items.get(model, {}).get((row, metric)),
                )
                if changed := change(before, values, metric, given):
                    found.setdefault(model, {}).setdefault(row, {})[metric] = [
                        changed.value,
                        changed.stderr,
                        changed.paired,
                    ]
    return found


def chances(
    items: Mapping[str, Mapping[Key, Items]],
) -> dict[str, dict[str, float]]:
    """Row -> metric -> the score of guessing, where the choices of all items are known."""
    found: dict[str, dict[str, float]] = {}
    for given in items.values():
        for (row, metric), one in given.items():
            if isinstance(one, Answers) and one.chance is not None:
                found.setdefault(row, {}).setdefault(metric, round(one.chance, 6))
    return found


def guessed(numbers: Mapping[str, Any]) -> dict[str, list[str]]:
    """Task -> models no metric of which is better than guessing."""
    found: dict[str, list[str]] = {}
    for model, rows in numbers["scores"].items():
        for task, row in rows.items():
            expected = numbers["chance"].get(task, {})
            asked = [metric for metric in metrics(row) if metric in expected and row.get("n")]
            values = [
                (row[metric], expected[metric]) for metric in asked if row[metric] is not None
            ]
            if values and all(is_guessing(value, chance, row["n"]) for value, chance in values):
                found.setdefault(task, []).append(model)
    return found


def is_whole(row: str, scores: Scores) -> bool:
    """Whether a row is of a whole task (or a category), not of a group or a bucket."""
    if _BUCKET.fullmatch(row):
        return False
    parent, _, name = row.rpartition("/")
    return not (name and any(parent in rows for rows in scores.values()))


def benchmarks(numbers: Mapping[str, Any]) -> Section | None:
    """The section: whole tasks in one table, the groups of each task folded below it."""
    scores: Scores = numbers["scores"]
    if not any(scores.values()):
        return None
    rows = dict.fromkeys(row for found in scores.values() for row in found)
    whole = [row for row in rows if is_whole(row, scores)]
    groups = {
        task: [row for row in rows if row.startswith(f"{task}/") and row not in whole]
        for task in whole
    }
    long_text = [task for task in whole if task.startswith(f"{LONG_TEXT}/")]
    told = (
        "Value ± standard error, and below it the change against "
        f"{next(iter(scores))} with its 95 % interval. Where both models were given the same "
        "items, that is of the items' own differences (paired). Bits per byte compare models with "
        "different vocabularies: lower is better."
    )
    blocks: list[Block] = [Text(told)]
    blocks += [Text(words) for words in sources_of(r for f in scores.values() for r in f.values())]
    if numbers["not_decontaminated"]:
        blocks.append(Text(f"* Not decontaminated: {', '.join(numbers['not_decontaminated'])}."))
    blocks.append(score_table("Scores", whole, numbers))
    if held_out := [task for task in whole if task.startswith(TEXTS)]:
        tokens = score_table("Tokens of held-out text", held_out, numbers, aside=True)
        blocks += [Fold("Tokens of held-out text", (tokens,))] if tokens.rows else []
    for task in [task for task in whole if groups[task] and task not in long_text]:
        shown = score_table(task, groups[task], numbers, prefix=f"{task}/")
        blocks.append(Fold(f"{task} by group ({len(groups[task])})", (shown,)))
    if buckets := [row for task in long_text for row in groups[task]]:
        blocks.append(Heading("Long text, by position"))
        for category, models in by_position(scores).items():
            drawn = chart(
                f"Bits per byte by position, {category}",
                coloured(models),
                x="position in bytes of text",
                y="bits per byte",
                wide=False,
            )
            blocks += [Figure(drawn)] if drawn else []
        blocks.append(Fold("Long text as a table", (score_table("By position", buckets, numbers),)))
    blocks += [Text(note) for note in numbers["notes"]]
    return section("Benchmarks", *blocks)


def score_table(
    caption: str,
    rows: Sequence[str],
    numbers: Mapping[str, Any],
    *,
    prefix: str = "",
    aside: bool = False,
) -> Table:
    """A row per task and metric, a column per model. `aside`: the metrics that are no scores."""
    scores: Scores = numbers["scores"]
    by_guessing = guessed(numbers)
    keys = dict.fromkeys(
        (row, metric)
        for row in rows
        for found in scores.values()
        for metric in metrics(found.get(row, {}))
        if metric.startswith(NO_SCORES) == aside
    )
    lines: list[tuple[Value, ...]] = []
    known = {key: published([f.get(key[0], {}) for f in scores.values()], *key) for key in keys}
    for row, metric in keys:
        given = [found.get(row, {}) for found in scores.values()]
        star = " *" if row in numbers["not_decontaminated"] else ""
        expected = numbers["chance"].get(row, {}).get(metric)
        n, asked = items_of_all(given, metric), [asked_words(found, metric) for found in given]
        lines.append(
            (
                f"{row.removeprefix(prefix)}{star}",
                Cell(metric, small=next(filter(None, asked), ""), tone="soft"),
                Cell(
                    n, small=f"guessing {expected:.3f}" if expected is not None else "", tone="soft"
                ),
                *(
                    _cell(
                        values,
                        metric,
                        numbers["changes"].get(model, {}).get(row, {}).get(metric),
                        model in by_guessing.get(row, ()),
                    )
                    for model, values in zip(scores, given, strict=True)
                ),
                *([_published(known[row, metric])] if any(known.values()) else []),
            )
        )
    columns = ["task", "metric", "#n", *(f"#{model}" for model in scores)]
    return table(caption, [*columns, *(["published"] if any(known.values()) else [])], lines)


def _published(known: Mapping[str, float]) -> str:
    return ", ".join(f"{value:.3f} {system}" for system, value in known.items())


def _cell(
    row: Mapping[str, Any], metric: str, changed: Sequence[Any] | None, by_guessing: bool
) -> Cell:
    value, error = row.get(metric), row.get(f"{metric}_stderr")
    if value is None:
        return Cell(str(row.get("reason", "–")) if metric in row else "–")
    text = f"{value:.3f}" + (f" ± {error:.3f}" if error is not None else "")
    text += " (chance)" if by_guessing else ""
    if changed is None:
        return Cell(text)
    found = Change(*changed)
    return Cell(text, small=found.with_interval(), tone=found.tone(metric))


def by_position(scores: Scores) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Long text: category -> model -> (middle of a bucket of positions, bits per byte there)."""
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for model, tasks in scores.items():
        for task, row in tasks.items():
            if (bucket := _BUCKET.fullmatch(task)) and row["bits_per_byte"] is not None:
                middle = (int(bucket["low"]) + int(bucket["high"]) + 1) / 2
                points = curves.setdefault(bucket["category"], {}).setdefault(model, [])
                points.append((middle, row["bits_per_byte"]))
    return curves
