"""The harness protocol: lm-evaluation-harness 0.4.13 scores answers with a model in this process.

Local benchmarks are passed as task configurations whose documents are finished prompts
(`tasks.benchmarks`), so the harness needs neither cache nor network. Requests, likelihoods and
metrics are the harness's own. Each task runs by itself, so that other tasks in a recipe change
neither the batches nor the last bits of a score.

Before that, each item is encoded exactly as the harness will encode it. Items on which it would
fail (an answer that adds no token, or longer than the context) are skipped and reported; prompts
that it would truncate silently are counted.

The harness is imported on use (3 s), because machines that only train need not have it. The model
that it scores is `tasks.evaluation.harness_model`; its own tasks are run by `tasks.evaluation.hub`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from infra.stage import StageError
from tasks.evaluation.choosing import chosen
from tasks.evaluation.harness_model import answer_problem, is_cut
from tasks.evaluation.items import (
    Asked,
    Question,
    notes,
    rows_by_group,
    sample_head,
    unasked_sample,
)
from tasks.evaluation.stage import GroupLimit

_METRICS = ("acc", "acc_norm")
_HARNESS_SEED = 0
"""Seed of `random`, the harness's default; NumPy, torch and few-shot sampling get the recipe's."""


def score(
    task: str, questions: Sequence[Question], delimiter: str, lm: Any
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], list[str]]:
    """(rows with the harness's `acc` and `acc_norm` and errors; a sample per item; notes).

    There is a row for the task and for each group. Items that the harness cannot score are skipped,
    counted and noted: a choice that is empty, longer than the context, or without a token of its
    own because the last token of the prompt includes it.
    """
    asked, spanning = _check_items(questions, delimiter, lm)
    scored = [item.question for item in asked if not item.problem]
    results, logged = _score(task, scored, delimiter, lm) if scored else ({}, [])
    lm.encoded.clear()
    next_logged = iter(logged)
    samples = [
        unasked_sample(item) if item.problem else _sample(item.question, next(next_logged))
        for item in asked
    ]
    rows = rows_by_group(
        task, asked, {metric: [float(sample[metric]) for sample in logged] for metric in _METRICS}
    )
    rows[task].update(results)
    task_notes = notes(task, "harness", asked, lm.max_length)
    if spanning:
        task_notes.append(
            f"{task} (harness): {len(spanning):,} of {len(asked):,} items where a token spans "
            f"prompt and answer, and only what follows it is scored (first: item {spanning[0]!r}); "
            "a delimiter of one blank avoids it"
        )
    return rows, samples, task_notes


def _check_items(
    questions: Sequence[Question], delimiter: str, lm: Any
) -> tuple[list[Asked], list[str]]:
    """(all items, with what prevents or cuts them; ids scored despite a spanning token)."""
    asked, spanning = [], []
    for question in questions:
        if question.problem:
            asked.append(Asked(question, question.problem))
            continue
        pairs = lm.pairs(question.prompt, [delimiter + answer for answer in question.answers])
        problem = next(
            filter(None, (answer_problem(pair.answer, lm.max_length) for pair in pairs)), ""
        )
        cut = not problem and any(is_cut(pair.prompt, pair.answer, lm.max_length) for pair in pairs)
        asked.append(Asked(question, problem, cut))
        if not problem and any(pair.spans for pair in pairs):
            spanning.append(question.id)
    return asked, spanning


def _score(
    task: str, questions: Sequence[Question], delimiter: str, lm: Any
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The harness's metrics over all questions, and its log entry of each, in order."""
    from lm_eval.tasks import TaskManager

    # The harness wants lists of right answers for all items or for none.
    several = any(len(question.right) > 1 for question in questions)
    config = {
        "task": task,
        "custom_dataset": _Dataset(questions),
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "prompt",
        "doc_to_choice": "answers",
        "doc_to_target": "right" if several else "answer",
        "target_delimiter": delimiter,
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in _METRICS
        ],
    }
    loaded = TaskManager(include_defaults=False).load([config])
    results = run_tasks(lm, loaded, seed=_HARNESS_SEED, limit=None, shots=0)
    logged = sorted(results["samples"][task], key=lambda sample: int(sample["doc_id"]))
    if len(logged) != len(questions):
        raise StageError(
            f"{task}: the harness scored {len(logged)} of {len(questions)} items; this is a bug, "
            "please report it"
        )
    return numeric_metrics(results["results"][task]), logged


class _Dataset:
    """A callable that the harness calls to get a task's data set."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self._rows = [
            {
                "prompt": q.prompt,
                "answers": list(q.answers),
                "answer": q.right[0],
                "right": list(q.right),
            }
            for q in questions
        ]

    def __call__(self, **_: Any) -> Any:
        import datasets

        return datasets.DatasetDict({"test": datasets.Dataset.from_list(self._rows)})


def run_tasks(
    lm: Any, loaded: Any, *, seed: int, limit: int | GroupLimit | None, shots: int | None
) -> dict[str, Any]:
    """`lm_eval.simple_evaluate` for loaded tasks, without its slow collection of system details.

    Of a group of tasks, each task is what `GroupLimit` calls a group.
    """
    import numpy as np
    import torch
    from lm_eval.evaluator import evaluate

    random.seed(_HARNESS_SEED)
    np.random.seed(seed)
    torch.manual_seed(seed)
    for task in loaded["tasks"].values():
        own = task.get_config("num_fewshot")
        if shots is not None and own != 0:
            task.set_config(key="num_fewshot", value=shots)
        elif own is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=seed)
    samples = None
    if isinstance(limit, GroupLimit):
        samples = {
            name: chosen(
                name, [("", str(at)) for at in range(len(task.eval_docs))], limit.per_group
            )
            for name, task in loaded["tasks"].items()
        }
        limit = None
    results: dict[str, Any] = evaluate(lm=lm, task_dict=loaded, limit=limit, samples=samples)
    return results


def numeric_metrics(metrics: dict[str, Any]) -> dict[str, float]:
    """The numeric metrics, `acc,none` renamed to `acc`; other filters stay part of the name."""
    return {
        name.removesuffix(",none"): value
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and "," in name
    }


def _sample(question: Question, logged: dict[str, Any]) -> dict[str, Any]:
    likelihoods = [float(response[0]) for response in logged["filtered_resps"]]
    return {
        **sample_head(question),
        "prediction": max(range(len(likelihoods)), key=likelihoods.__getitem__),
        "correct": bool(logged["acc"]),
        "correct_norm": bool(logged["acc_norm"]),
        "loglikelihoods": [round(value, 4) for value in likelihoods],
    }
