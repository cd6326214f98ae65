"""The harness protocol: lm-evaluation-harness 0.4.13 scores the answers, in this process, on a model in memory.

Local benchmarks are handed over as task configurations whose documents are prompts already (`tasks.benchmarks`), so
the harness builds no cache and reaches no network; its requests, its likelihoods and its metrics are its own. Each
task runs by itself: what else a recipe evaluates then never changes the batches, nor the last bits of a score.

One departure, only where the output matrix has rows that no token has: the harness lets them take part in the softmax
and in generation, so a score would depend on `pad_to_multiple_of`; here they get minus infinity first.

The harness is imported when it is used (3 s), because nodes that only train do not have it. Its registry of hub tasks
takes 15 s to read whole (13,000 files), so the folder of a task's family is tried first.
"""

from __future__ import annotations

import difflib
import importlib.util
import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.stage import StageError
from tasks.evaluation.items import Question, rows_by_group
from tasks.evaluation.model import LoadedModel

_METRICS = ("acc", "acc_norm")
_HARNESS_SEED = 0
"""The harness's own default for `random`; its numpy, torch and few-shot seeds are `EvaluationParameters.seed`."""


def harness_model(model: LoadedModel, batch_size: int) -> Any:
    """The model as the harness wants it; `StageError` where the harness is not installed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise StageError("protocol harness needs lm-evaluation-harness: install lm-eval==0.4.13, or leave it out")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.models.huggingface import HFLM

    class TokensOnly(HFLM):  # type: ignore[misc]
        """The harness's model without the padding rows of the matrix."""

        def _model_call(self, *arguments: Any, **named: Any) -> Any:
            logits = super()._model_call(*arguments, **named)
            model.mask_padding(logits)
            return logits

        def _model_generate(self, *arguments: Any, **named: Any) -> Any:
            return super()._model_generate(*arguments, suppress_tokens=model.padding_rows.tolist(), **named)

    kind = TokensOnly if len(model.padding_rows) else HFLM
    batch_size = 1 if model.one_length_at_a_time else batch_size
    return kind(pretrained=model.model, tokenizer=model.tokenizer, batch_size=batch_size, max_length=model.max_length)


def score_questions(
    task: str, asked: Sequence[Question], delimiter: str, lm: Any
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """The harness's `acc` and `acc_norm` with errors for local items and their groups; one sample an item, in order."""
    from lm_eval.tasks import TaskManager

    config = {
        "task": task,
        "custom_dataset": _Documents(asked),
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "prompt",
        "doc_to_choice": "answers",
        "doc_to_target": "answer",
        "target_delimiter": delimiter,
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in _METRICS],
    }
    loaded = TaskManager(include_defaults=False).load([config])
    results = _evaluate(lm, loaded, seed=_HARNESS_SEED, limit=None, shots=0)
    logged = sorted(results["samples"][task], key=lambda sample: int(sample["doc_id"]))
    samples = [_sample(question, sample) for question, sample in zip(asked, logged, strict=True)]
    rows = rows_by_group(
        task,
        [question.group for question in asked],
        {metric: [float(sample[metric]) for sample in logged] for metric in _METRICS},
    )
    rows[task] = {**_plain(results["results"][task]), "n": len(asked)}
    return rows, samples


def score_hub(
    task: str, lm: Any, *, shots: int | None, limit: int | None, seed: int
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """The harness's numbers for one of its own tasks or groups; a row for each of its parts.

    Raises `StageError` for a name it does not have, and where the data cannot be loaded (offline and not cached).
    """
    manager = _manager(task)
    try:
        loaded = manager.load([task])
    except Exception as error:  # the harness, datasets and the hub each raise their own
        raise StageError(
            f"hub task {task!r}: its data could not be loaded ({type(error).__name__}: {error}). Run once with a "
            "network and without HF_HUB_OFFLINE, or name the publisher's files under benchmarks"
        ) from error
    results = _evaluate(lm, loaded, seed=seed, limit=limit, shots=shots)
    rows: dict[str, dict[str, Any]] = {}
    for name, metrics in {**results["results"], **results.get("groups", {})}.items():
        counted = results.get("n-samples", {}).get(name)
        rows[name] = {**_plain(metrics), **({"n": counted["effective"]} if counted else {})}
    samples = [
        {"task": name, "id": str(sample["doc_id"]), "correct": sample.get("acc", sample.get("exact_match"))}
        for name, logged in results["samples"].items()
        for sample in logged
    ]
    return rows, samples


class _Documents:
    """What the harness calls for a task's data."""

    def __init__(self, asked: Sequence[Question]) -> None:
        self._rows = [{"prompt": q.prompt, "answers": list(q.answers), "answer": q.answer} for q in asked]

    def __call__(self, **_: Any) -> Any:
        import datasets

        return datasets.DatasetDict({"test": datasets.Dataset.from_list(self._rows)})


def _evaluate(lm: Any, loaded: Any, *, seed: int, limit: int | None, shots: int | None) -> dict[str, Any]:
    """`lm_eval.simple_evaluate` for loaded tasks, without its survey of the machine (seconds, and in no number)."""
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
    results: dict[str, Any] = evaluate(lm=lm, task_dict=loaded, limit=limit)
    return results


def _manager(task: str) -> Any:
    """A task manager that knows `task`: from the folder of its family where that is enough, else from all folders."""
    import lm_eval.tasks

    root = Path(lm_eval.tasks.__file__).parent
    for family in dict.fromkeys([task, task.split("_")[0], task.split("-")[0]]):
        if (root / family).is_dir():
            manager = lm_eval.tasks.TaskManager(include_defaults=False, include_path=str(root / family))
            if task in manager.all_tasks:
                return manager
    manager = lm_eval.tasks.TaskManager()
    if task not in manager.all_tasks:
        near = difflib.get_close_matches(task, manager.all_tasks, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise StageError(f"hub task {task!r} is not in lm-evaluation-harness's registry{hint}")
    return manager


def _plain(metrics: dict[str, Any]) -> dict[str, float]:
    """`acc,none` -> `acc`; other filters stay in the name (`exact_match,strict-match`); only numbers are kept."""
    return {
        name.removesuffix(",none"): value
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and "," in name
    }


def _sample(question: Question, logged: dict[str, Any]) -> dict[str, Any]:
    likelihoods = [float(response[0]) for response in logged["filtered_resps"]]
    return {
        "id": question.id,
        "group": question.group,
        "answer": question.answer,
        "prediction": max(range(len(likelihoods)), key=likelihoods.__getitem__),
        "correct": bool(logged["acc"]),
        "correct_norm": bool(logged["acc_norm"]),
        "loglikelihoods": [round(value, 4) for value in likelihoods],
    }
