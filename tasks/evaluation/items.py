"""A benchmark's items as questions for a model, and statistics of the answers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.stage import StageError
from tasks.benchmarks.model import Benchmark
from tasks.benchmarks.parsed import LETTERS
from tasks.benchmarks.prompts import answers, beginnings, examples_for, prompt, right_answers
from tasks.benchmarks.read import WITHOUT_GROUPS, Item, read_items
from tasks.benchmarks.scores import FIRST_TOKEN
from tasks.benchmarks.styles import Style
from tasks.evaluation.choosing import chosen
from tasks.evaluation.stage import GroupLimit


@dataclass(frozen=True)
class Question:
    """An item with its prompt; the model chooses among `answers` after `prompt` and the delimiter,
    or writes an answer, which is compared with the `accepted` ones.

    `right`: indices of the right answers, usually one. `beginnings`: what follows the prompt before
    each answer, where that differs (a blank). `problem`: why it cannot be asked, else "".
    """

    id: str
    group: str
    prompt: str
    answers: tuple[str, ...]
    right: tuple[int, ...]
    problem: str = ""
    beginnings: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()

    @property
    def prompts(self) -> tuple[str, ...]:
        """What precedes each of `answers` and the delimiter."""
        if not self.beginnings:
            return (self.prompt,) * len(self.answers)
        return tuple(self.prompt + beginning for beginning in self.beginnings)


@dataclass(frozen=True)
class Asked:
    """The outcome of a question.

    `problem`: why it was not asked, else "". `cut`: its prompt lost its beginning.
    """

    question: Question
    problem: str = ""
    cut: bool = False


def questions(
    name: str,
    benchmark: Benchmark,
    style: Style,
    paths: Sequence[Path],
    dev_paths: Sequence[Path],
    *,
    shots: int,
    limit: int | GroupLimit | None,
    generated: bool = False,
) -> list[Question]:
    """The benchmark's items, as `limit` chooses them, as questions after `shots` worked examples.

    `generated`: whether the answer is written by the model, so that an item without choices can be
    asked. Raises `StageError` if no item can be asked, or if dev has too few examples.
    """
    limits = [number for number in (benchmark.limit, limit) if isinstance(number, int)]
    # If questions or examples have several files, group both: no task may get another's examples.
    by_task = len(paths) > 1 or bool(shots and len(dev_paths) > 1)
    items = read_items(name, benchmark, paths, min(limits, default=None), group_by_task=by_task)
    if isinstance(limit, GroupLimit):
        named = [(item.group, item.id) for item in items]
        items = [items[number] for number in chosen(name, named, limit.per_group)]
    first = shots if benchmark.format in WITHOUT_GROUPS else None  # training files are long
    dev = (
        read_items(
            name,
            benchmark.model_copy(update={"split": "dev"}),
            dev_paths,
            first,
            group_by_task=by_task,
        )
        if shots and dev_paths
        else []
    )
    built = []
    for item in items:
        examples: list[Item] = examples_for(item, dev, shots) if shots else []
        scored = answers(item, style)
        built.append(
            Question(
                item.id,
                item.group,
                prompt(item, style, examples),
                scored,
                right_answers(item, style),
                _problem(item, style, scored, generated),
                beginnings(item, style),
                _accepted(item, style),
            )
        )
    problems = [item.problem or _nothing_to_score(item, style, generated) for item in items]
    if all(problems):
        raise StageError(
            f"{name}: none of its {len(items):,} items has choices and an answer to score (item "
            f"{items[0].id!r}: {problems[0]}); leave this benchmark to decontaminate"
        )
    return built


def _accepted(item: Item, style: Style) -> tuple[str, ...]:
    """The texts that an answer is compared with: those of the file, else the right choices."""
    scored = answers(item, style)
    rights = (index for index in right_answers(item, style) if index < len(scored))
    return item.accepted or tuple(scored[index] for index in rights)


def _nothing_to_score(item: Item, style: Style, generated: bool) -> str:
    if generated and style.score == "texts" and (item.accepted or not item.choices):
        return "" if item.accepted else "no answer is given"
    if not answers(item, style):
        return "no choices"
    return "" if right_answers(item, style) else "no right answer is given"


def _problem(item: Item, style: Style, words: Sequence[str], generated: bool) -> str:
    if problem := item.problem or _nothing_to_score(item, style, generated):
        return problem
    if len(words) < len(item.choices):
        return f"more choices than the letters A to {LETTERS[-1]}"
    return "an empty choice" if "" in words else ""


def notes(task: str, protocol: str, asked: Sequence[Asked], max_length: int) -> list[str]:
    """Sentences on items that were not asked or not unchanged: how many, why, and the first one."""
    ids_by_remark: dict[str, list[str]] = {}
    for item in asked:
        for remark in _remarks(item, max_length):
            ids_by_remark.setdefault(remark, []).append(item.question.id)
    return [
        f"{task} ({protocol}): {len(ids):,} of {len(asked):,} items {remark} (first: item "
        f"{ids[0]!r})"
        for remark, ids in ids_by_remark.items()
    ]


def _remarks(item: Asked, max_length: int) -> Iterator[str]:
    if item.problem:
        yield f"not asked: {item.problem}"
        return
    if item.cut:
        yield (
            f"had prompts longer than the context of {max_length:,} tokens, which lost their "
            "beginning"
        )
    if len(item.question.right) > 1:
        yield (
            "with several right answers, each of which counts as right, as in lm-evaluation-harness"
        )
    told_apart = item.question.beginnings or item.question.answers
    if len(set(told_apart)) < len(told_apart):
        yield "with the same choice twice, of which only the first can be chosen"
    if any(not answer.strip() for answer in item.question.answers):
        yield "with a choice of blanks only, which are scored as they stand"


def sample_head(question: Question) -> dict[str, Any]:
    """The first fields of a sample: the item's id, group and right answer or answers."""
    head = {
        "id": question.id,
        "group": question.group,
        "answer": question.right[0] if question.right else None,
    }
    return head | ({"also_right": list(question.right[1:])} if len(question.right) > 1 else {})


def unasked_sample(item: Asked) -> dict[str, Any]:
    """The sample of an item that was not asked; `not_asked` says why."""
    return sample_head(item.question) | {"not_asked": item.problem}


def mean_and_stderr(metric: str, values: Sequence[float]) -> dict[str, float | None]:
    """`{metric: mean, metric_stderr: standard error}`, computed as in the harness.

    The standard error is the sample standard deviation over sqrt(n); it is left out for a single
    value. Without values, the mean is None.
    """
    if not values:
        return {metric: None}
    mean = sum(values) / len(values)
    if len(values) < 2:
        return {metric: mean}
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return {metric: mean, f"{metric}_stderr": math.sqrt(variance) / math.sqrt(len(values))}


def rows_by_group(
    task: str, asked: Sequence[Asked], metrics: Mapping[str, Sequence[float]], *, prefix: str = ""
) -> dict[str, dict[str, Any]]:
    """One row for the task and one per group, named `task/group`, in order of appearance.

    A row has mean and standard error of each metric, the score of guessing (`chance`) among given
    answers, `n` items asked and, unless zero, `not_asked` and `cut` (asked without the beginning of
    their prompts); the names of all but metrics begin with `prefix`.

    Args:
        metrics: name -> values of the items that were asked, in order.
    """
    members: dict[str, list[int]] = {task: list(range(len(asked)))}
    for index, item in enumerate(asked):
        if item.question.group:
            members.setdefault(f"{task}/{item.question.group}", []).append(index)
    # Index into `asked` -> index into the values, which skip items that were not asked.
    place = dict(
        zip(
            (index for index, item in enumerate(asked) if not item.problem),
            itertools.count(),
            strict=False,
        )
    )
    rows: dict[str, dict[str, Any]] = {}
    for row, indices in members.items():
        rows[row] = {}
        scored = [place[index] for index in indices if index in place]
        for metric, values in metrics.items():
            rows[row].update(mean_and_stderr(metric, [values[index] for index in scored]))
        guesses = [
            len(asked[index].question.right) / len(asked[index].question.answers)
            for index in indices
            if index in place and asked[index].question.right
        ]
        if guesses and len(guesses) == len(scored) and prefix in ("", FIRST_TOKEN):
            rows[row][f"{prefix}chance"] = round(sum(guesses) / len(guesses), 6)
        counts = {
            "n": len(scored),
            "not_asked": len(indices) - len(scored),
            "cut": sum(asked[index].cut for index in indices),
        }
        rows[row].update(
            {f"{prefix}{name}": count for name, count in counts.items() if count or name == "n"}
        )
    return rows
