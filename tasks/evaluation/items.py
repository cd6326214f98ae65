"""A benchmark's items as every protocol asks them, and the statistics of their answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.stage import StageError
from tasks.benchmarks.model import Benchmark, Style
from tasks.benchmarks.prompts import answers, examples_for, prompt
from tasks.benchmarks.read import Item, read_items


@dataclass(frozen=True)
class Question:
    """One item with its prompt: the model is asked for one of `answers` after `prompt` and the delimiter."""

    id: str
    group: str
    prompt: str
    answers: tuple[str, ...]
    answer: int


def questions(
    name: str,
    benchmark: Benchmark,
    style: Style,
    paths: Sequence[Path],
    dev_paths: Sequence[Path],
    *,
    shots: int,
    limit: int | None,
) -> list[Question]:
    """The benchmark's first `limit` items in the words of `style`, after `shots` worked examples.

    Raises `StageError` for items without choices or answer, and where dev has too few examples.
    """
    limits = [number for number in (benchmark.limit, limit) if number is not None]
    items = read_items(name, benchmark, paths, min(limits, default=None))
    dev = read_items(name, benchmark.model_copy(update={"split": "dev"}), dev_paths) if shots and dev_paths else []
    asked = []
    for item in items:
        if item.answer is None or not item.choices:
            raise StageError(f"{name}: item {item.id!r} has no answer to score; leave this benchmark to decontaminate")
        examples: list[Item] = examples_for(item, dev, shots) if shots else []
        asked.append(Question(item.id, item.group, prompt(item, style, examples), answers(item, style), item.answer))
    return asked


def mean_and_stderr(metric: str, values: Sequence[float]) -> dict[str, float]:
    """`{metric: mean, metric_stderr: standard error}` as the harness computes them (sample deviation over root n).

    The error is left out for a single value.
    """
    mean = sum(values) / len(values)
    if len(values) < 2:
        return {metric: mean}
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return {metric: mean, f"{metric}_stderr": math.sqrt(variance) / math.sqrt(len(values))}


def rows_by_group(
    task: str, groups: Sequence[str], metrics: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, float | int]]:
    """One row for the task and, where items have groups, one for each as `task/group`, in order of appearance."""
    members: dict[str, list[int]] = {task: list(range(len(groups)))}
    for index, group in enumerate(groups):
        if group:
            members.setdefault(f"{task}/{group}", []).append(index)
    rows: dict[str, dict[str, float | int]] = {}
    for row, indices in members.items():
        rows[row] = {}
        for metric, values in metrics.items():
            rows[row].update(mean_and_stderr(metric, [values[index] for index in indices]))
        rows[row]["n"] = len(indices)
    return rows
