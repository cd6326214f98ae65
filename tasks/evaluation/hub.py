"""The harness's own tasks, with data from the Hugging Face hub.

Reading the harness's whole registry takes 15 s (13,000 files), so the folder of the task's family
is tried first.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from infra.stage import StageError
from tasks.evaluation.choosing import chosen
from tasks.evaluation.stage import GroupLimit

_SEED = 0
"""Seed of `random`, the harness's default; NumPy, torch and few-shot sampling get the recipe's."""


def score(
    task: str, lm: Any, *, shots: int | None, limit: int | GroupLimit | None, seed: int
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], list[str]]:
    """(a row for a task of the harness's own, or for each task of a group; samples; notes).

    Raises `StageError` if the harness has no such task, if its data cannot be loaded (offline and
    not cached), and if an answer cannot be scored.
    """
    manager = _task_manager(task)
    try:
        loaded = manager.load([task])
    except Exception as error:  # the harness, datasets and the hub each raise their own
        raise StageError(
            f"hub task {task!r}: its data could not be loaded ({type(error).__name__}: {error}). "
            "Run once with network access and without HF_HUB_OFFLINE, or list the publisher's "
            "files under benchmarks"
        ) from error
    lm.cut = 0
    try:
        results = _run_tasks(lm, loaded, seed=seed, limit=limit, shots=shots)
    except StageError as error:
        raise StageError(
            f"hub task {task!r}: the harness cannot score {error}; remove the task from hub"
        ) from error
    rows = {
        name: {**_numeric_metrics(metrics), "n": _items(name, results)}
        for name, metrics in {**results["results"], **results.get("groups", {})}.items()
    }
    samples = [
        sample for name, logged in results["samples"].items() for sample in _samples(name, logged)
    ]
    task_notes = []
    if lm.cut:
        task_notes.append(
            f"{task} (harness): {lm.cut:,} prompts (one per answer) were longer than the context "
            f"of {lm.max_length:,} tokens and lost their beginning"
        )
    return rows, samples, task_notes


def _items(name: str, results: Mapping[str, Any]) -> int:
    """How many items a task has scored, or the tasks of a group, each counted once."""
    tasks, names = {}, [name]
    while names:
        name = names.pop()
        if name in results["n-samples"]:
            tasks[name] = int(results["n-samples"][name]["effective"])
        else:
            names += results["group_subtasks"].get(name, ())
    return sum(tasks.values())


def _samples(task: str, logged: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A sample for each item of a task, with its `scores`: metric -> number, the metrics called as
    in the task's row. The harness logs an item once for each of the task's filters.

    Metrics that are no number for one item (a word perplexity) are left out.
    """
    scores: dict[str, dict[str, float]] = {}
    for sample in logged:
        numbers = {
            f"{metric},{sample['filter']}": float(sample[metric])
            for metric in sample["metrics"]
            if isinstance(sample[metric], Real)
        }
        scores.setdefault(str(sample["doc_id"]), {}).update(_numeric_metrics(numbers))
    return [{"task": task, "id": item, "scores": found} for item, found in scores.items()]


def _task_manager(task: str) -> Any:
    """A task manager that knows `task`, from the folder of its family if possible (faster)."""
    import lm_eval.tasks

    root = Path(lm_eval.tasks.__file__).parent
    for family in dict.fromkeys([task, task.split("_")[0], task.split("-")[0]]):
        if (root / family).is_dir():
            manager = lm_eval.tasks.TaskManager(
                include_defaults=False, include_path=str(root / family)
            )
            if task in manager.all_tasks:
                return manager
    manager = lm_eval.tasks.TaskManager()
    if task not in manager.all_tasks:
        near = difflib.get_close_matches(task, manager.all_tasks, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise StageError(
            f"hub task {task!r} is not in the registry of lm-evaluation-harness{hint}; correct "
            "its name under hub"
        )
    return manager


def _run_tasks(
    lm: Any, loaded: Any, *, seed: int, limit: int | GroupLimit | None, shots: int | None
) -> dict[str, Any]:
    """`lm_eval.simple_evaluate` for loaded tasks, without its slow collection of system details.

    Of a group of tasks, each task is what `GroupLimit` calls a group.
    """
    import numpy as np
    import torch
    from lm_eval.evaluator import evaluate

    random.seed(_SEED)
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


def _numeric_metrics(metrics: dict[str, Any]) -> dict[str, float]:
    """The numeric metrics, `acc,none` renamed to `acc`; other filters stay part of the name."""
    return {
        name.removesuffix(",none"): value
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and "," in name
    }
