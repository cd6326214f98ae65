"""The harness protocol: lm-evaluation-harness 0.4.13 scores answers with a model in this process.

Local benchmarks are passed as task configurations whose documents are finished prompts
(`tasks.benchmarks`), so the harness needs neither cache nor network. Requests, likelihoods and
metrics are the harness's own. Each task runs by itself, so that other tasks in a recipe change
neither the batches nor the last bits of a score.

Before that, each item is encoded exactly as the harness will encode it. Items on which it would
fail (an answer without a token of its own, or longer than the context) are skipped and reported;
prompts that it would truncate silently are counted.

One deviation, only if the output matrix has rows without a token: the harness includes them in the
softmax and in generation, so scores would depend on `pad_to_multiple_of`. Here their logits are
set to minus infinity first.

The harness is imported on use (3 s), because machines that only train need not have it. Reading its
whole registry of hub tasks takes 15 s (13,000 files), so the folder of the task's family is tried
first.
"""

from __future__ import annotations

import difflib
import importlib.util
import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from infra.stage import StageError
from tasks.evaluation.items import (
    Asked,
    Question,
    notes,
    rows_by_group,
    sample_head,
    unasked_sample,
)
from tasks.evaluation.model import LoadedModel

_METRICS = ("acc", "acc_norm")
_HARNESS_SEED = 0
"""Seed of `random`, the harness's default; NumPy, torch and few-shot sampling get the recipe's."""


class Pair(NamedTuple):
    """Token ids of a prompt and of an answer after it.

    `spans`: the prompt's tokens change when the answer follows, so a token spans the two.
    """

    prompt: list[int]
    answer: list[int]
    spans: bool


def harness_model(model: LoadedModel, batch_size: int) -> Any:
    """Wrap a model for the harness; `StageError` if the harness is not installed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise StageError(
            "protocol harness needs lm-evaluation-harness, which is not installed; run `pip "
            "install lm-eval==0.4.13`, or take harness out of protocols"
        )
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.models.huggingface import HFLM

    class Watched(HFLM):  # type: ignore[misc]
        """The harness's model; counts truncated prompts and raises a clear error on bad answers."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.encoded: dict[tuple[str, str], Pair] = {}
            self.cut = 0

        def pairs(self, prompt: str, answers: Sequence[str]) -> list[Pair]:
            """Encode each answer after `prompt` as the harness does; `_encode_pair` reuses it."""
            # The harness moves trailing spaces of the prompt to the answer.
            before = self.tok_encode(prompt.rstrip())
            encoded = []
            for answer in answers:
                whole = self.tok_encode(prompt + answer)
                pair = Pair(before, whole[len(before) :], whole[: len(before)] != before)
                self.encoded[prompt, answer] = pair
                encoded.append(pair)
            return encoded

        def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
            if pair := self.encoded.pop((context, continuation), None):
                return pair.prompt, pair.answer
            both: tuple[list[int], list[int]] = super()._encode_pair(context, continuation)
            return both

        def _loglikelihood_tokens(self, requests: Any, *arguments: Any, **named: Any) -> Any:
            for texts, before, after in requests:
                if problem := answer_problem(after, self.max_length):
                    raise StageError(f"{problem}: {str(texts and texts[1])[:80]!r}")
                self.cut += is_cut(before, after, self.max_length)
            return super()._loglikelihood_tokens(requests, *arguments, **named)

        def tok_batch_encode(self, strings: Any, *arguments: Any, **named: Any) -> Any:
            if limit := named.get("left_truncate_len"):
                self.cut += sum(len(self.tok_encode(string)) > limit for string in strings)
            return super().tok_batch_encode(strings, *arguments, **named)

    class TokensOnly(Watched):
        """Like Watched, with the padding rows of the output matrix masked."""

        def _model_call(self, *arguments: Any, **named: Any) -> Any:
            logits = super()._model_call(*arguments, **named)
            model.mask_padding(logits)
            return logits

        def _model_generate(self, *arguments: Any, **named: Any) -> Any:
            return super()._model_generate(
                *arguments, suppress_tokens=model.padding_rows.tolist(), **named
            )

    kind = TokensOnly if len(model.padding_rows) else Watched
    batch_size = 1 if model.one_length_at_a_time else batch_size
    return kind(
        pretrained=model.model,
        tokenizer=model.tokenizer,
        batch_size=batch_size,
        max_length=model.max_length,
    )


def answer_problem(answer: Sequence[int], max_length: int) -> str:
    """Why the harness cannot score an answer with these token ids; "" if it can."""
    if not answer:
        return "an answer with no token of its own after the prompt (a token spans the two)"
    return "an answer longer than the context" if len(answer) > max_length else ""


def is_cut(prompt: Sequence[int], answer: Sequence[int], max_length: int) -> bool:
    """Whether the harness cuts off the beginning of the prompt."""
    return len(prompt) + len(answer) > max_length + 1


def score_questions(
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
        "custom_dataset": _Documents(questions),
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
    results = _evaluate(lm, loaded, seed=_HARNESS_SEED, limit=None, shots=0)
    logged = sorted(results["samples"][task], key=lambda sample: int(sample["doc_id"]))
    if len(logged) != len(questions):
        raise StageError(
            f"{task}: the harness scored {len(logged)} of {len(questions)} items; this is a bug, "
            "please report it"
        )
    return _plain(results["results"][task]), logged


def score_hub(
    task: str, lm: Any, *, shots: int | None, limit: int | None, seed: int
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], list[str]]:
    """(a row for a task of the harness's own, or for each task of a group; samples; notes).

    Raises `StageError` if the harness has no such task, if its data cannot be loaded (offline and
    not cached), and if an answer cannot be scored.
    """
    manager = _manager(task)
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
        results = _evaluate(lm, loaded, seed=seed, limit=limit, shots=shots)
    except StageError as error:
        raise StageError(
            f"hub task {task!r}: the harness cannot score {error}; take the task out of hub"
        ) from error
    rows: dict[str, dict[str, Any]] = {}
    for name, metrics in {**results["results"], **results.get("groups", {})}.items():
        sample_counts = results.get("n-samples", {}).get(name)
        item_count = {"n": sample_counts["effective"]} if sample_counts else {}
        rows[name] = {**_plain(metrics), **item_count}
    samples = [
        {
            "task": name,
            "id": str(sample["doc_id"]),
            "correct": sample.get("acc", sample.get("exact_match")),
        }
        for name, logged in results["samples"].items()
        for sample in logged
    ]
    task_notes = []
    if lm.cut:
        task_notes.append(
            f"{task} (harness): {lm.cut:,} prompts (one per answer) were longer than the context "
            f"of {lm.max_length:,} tokens and lost their beginning"
        )
    return rows, samples, task_notes


class _Documents:
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


def _evaluate(
    lm: Any, loaded: Any, *, seed: int, limit: int | None, shots: int | None
) -> dict[str, Any]:
    """`lm_eval.simple_evaluate` for loaded tasks, without its slow collection of system details."""
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


def _plain(metrics: dict[str, Any]) -> dict[str, float]:
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
