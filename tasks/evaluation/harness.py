"""The harness protocol: lm-evaluation-harness 0.4.13 scores the answers, in this process, on a
model in memory.

Local benchmarks are handed over as task configurations whose documents are prompts already
(`tasks.benchmarks`), so the harness builds no cache and reaches no network; its requests, its
likelihoods and its metrics are its own. Each task runs by itself: what else a recipe evaluates then
never changes the batches, nor the last bits of a score.

Before that, each item is encoded as the harness will encode it, so that what it would stop at (an
answer without tokens of its own, or longer than the context) is left out and told, and what it
would cut without a word is counted.

One departure, only where the output matrix has rows that no token has: the harness lets them take
part in the softmax and in generation, so a score would depend on `pad_to_multiple_of`; here they
get minus infinity first.

The harness is imported when it is used (3 s), because nodes that only train do not have it. Its
registry of hub tasks takes 15 s to read whole (13,000 files), so the folder of a task's family is
tried first.
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
"""The harness's own default for `random`; its numpy, torch and few-shot seeds are
`EvaluationParameters.seed`.
"""


class Pair(NamedTuple):
    """Ids of a prompt and of an answer after it; `spans`: a token of the prompt is another one
    beside the answer.
    """

    prompt: list[int]
    answer: list[int]
    spans: bool


def harness_model(model: LoadedModel, batch_size: int) -> Any:
    """The model as the harness wants it; `StageError` where the harness is not installed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise StageError(
            "protocol harness needs lm-evaluation-harness: install lm-eval==0.4.13, or leave it out"
        )
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.models.huggingface import HFLM

    class Watched(HFLM):  # type: ignore[misc]
        """The harness's model, which tells how many prompts it cuts and refuses in words what it
        cannot score.
        """

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.encoded: dict[tuple[str, str], Pair] = {}
            self.cut = 0

        def pairs(self, prompt: str, answers: Sequence[str]) -> list[Pair]:
            """The ids of each answer after `prompt`, as `_encode_pair` has them; remembered for
            it.
            """
            words = prompt.rstrip()
            before = self.tok_encode(words)
            found = []
            for answer in answers:
                whole = self.tok_encode(prompt + answer)
                pair = Pair(before, whole[len(before) :], whole[: len(before)] != before)
                self.encoded[prompt, answer] = pair
                found.append(pair)
            return found

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
        """The harness's model without the padding rows of the matrix."""

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
    """Why the harness cannot score an answer of these ids after its prompt; "" where it can."""
    if not answer:
        return "an answer with no token of its own after the prompt (a token spans the two)"
    return "an answer longer than the context" if len(answer) > max_length else ""


def is_cut(prompt: Sequence[int], answer: Sequence[int], max_length: int) -> bool:
    """Whether the harness takes away the beginning of the prompt."""
    return len(prompt) + len(answer) > max_length + 1


def score_questions(
    task: str, questions: Sequence[Question], delimiter: str, lm: Any
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], list[str]]:
    """The harness's `acc` and `acc_norm` with errors for local items and their groups; samples in
    order; notes.

    Items that it cannot score are left out, counted and named: a choice that is empty, that is
    longer than the context, or of which a token that began in the prompt leaves nothing.
    """
    asked, spanning = _look_at(questions, delimiter, lm)
    scored = [one.question for one in asked if not one.problem]
    results, logged = _score(task, scored, delimiter, lm) if scored else ({}, [])
    lm.encoded.clear()
    found = iter(logged)
    samples = [
        unasked_sample(one) if one.problem else _sample(one.question, next(found)) for one in asked
    ]
    rows = rows_by_group(
        task, asked, {metric: [float(sample[metric]) for sample in logged] for metric in _METRICS}
    )
    rows[task].update(results)
    said = notes(task, "harness", asked, lm.max_length)
    if spanning:
        said.append(
            f"{task} (harness): {len(spanning):,} of {len(asked):,} items where a token spans "
            f"prompt and answer, and only what follows it is scored (first: item {spanning[0]!r}); "
            "a delimiter of one blank avoids it"
        )
    return rows, samples, said


def _look_at(
    questions: Sequence[Question], delimiter: str, lm: Any
) -> tuple[list[Asked], list[str]]:
    """What can be asked, and the ids of the items that are scored although a token spans prompt and
    answer.
    """
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
    """The harness's metrics of all questions, and what it logs of each, in order."""
    from lm_eval.tasks import TaskManager

    several = any(
        len(question.right) > 1 for question in questions
    )  # a list for one item is a list for all, to it
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
            f"{task}: the harness scored {len(logged)} of {len(questions)} items; this is a defect"
        )
    return _plain(results["results"][task]), logged


def score_hub(
    task: str, lm: Any, *, shots: int | None, limit: int | None, seed: int
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], list[str]]:
    """The harness's numbers for one of its own tasks or groups, a row for each of its parts;
    samples; notes.

    Raises `StageError` for a name it does not have, where the data cannot be loaded (offline and
    not cached), and where it has an answer that cannot be scored.
    """
    manager = _manager(task)
    try:
        loaded = manager.load([task])
    except Exception as error:  # the harness, datasets and the hub each raise their own
        raise StageError(
            f"hub task {task!r}: its data could not be loaded ({type(error).__name__}: {error}). "
            "Run once with a network and without HF_HUB_OFFLINE, or name the publisher's files "
            "under benchmarks"
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
        counted = results.get("n-samples", {}).get(name)
        rows[name] = {**_plain(metrics), **({"n": counted["effective"]} if counted else {})}
    samples = [
        {
            "task": name,
            "id": str(sample["doc_id"]),
            "correct": sample.get("acc", sample.get("exact_match")),
        }
        for name, logged in results["samples"].items()
        for sample in logged
    ]
    said = []
    if lm.cut:
        said.append(
            f"{task} (harness): {lm.cut:,} prompts (one per answer) were longer than the context "
            f"of {lm.max_length:,} tokens and lost their beginning"
        )
    return rows, samples, said


class _Documents:
    """What the harness calls for a task's data."""

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
    """`lm_eval.simple_evaluate` for loaded tasks, without its survey of the machine (seconds, and
    in no number).
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
    results: dict[str, Any] = evaluate(lm=lm, task_dict=loaded, limit=limit)
    return results


def _manager(task: str) -> Any:
    """A task manager that knows `task`: from the folder of its family where that is enough, else
    from all folders.
    """
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
        raise StageError(f"hub task {task!r} is not in lm-evaluation-harness's registry{hint}")
    return manager


def _plain(metrics: dict[str, Any]) -> dict[str, float]:
    """`acc,none` -> `acc`; other filters stay in the name (`exact_match,strict-match`); only
    numbers are kept.
    """
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
