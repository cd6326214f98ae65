"""The metric `any`: an item is right if it is by any of several protocols (Colossal-LLaMA-2 scores
AGIEval and GAOKAO-Bench by exact match or first token)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.benchmarks.scores import ANY
from tasks.evaluation.items import Asked, Question, rows_by_group

Sample = dict[str, Any]


def right_by_any(
    task: str, given: Sequence[Sequence[Sample]]
) -> tuple[dict[str, dict[str, Any]], list[Sample]]:
    """(rows with `any`, its standard error and counts; a sample per item) from the samples of each
    protocol, which are of the same items in the same order.

    An item counts if any of the protocols asked it.
    """
    samples, asked = [], []
    for alike in zip(*given, strict=True):
        head = {key: alike[0][key] for key in ("id", "group")}
        answered = [sample for sample in alike if "not_asked" not in sample]
        problem = "" if answered else alike[0]["not_asked"]
        question = Question(head["id"], head["group"], "", (), ())
        asked.append(Asked(question, problem))
        right = any(sample["correct"] for sample in answered)
        samples.append(head | ({"not_asked": problem} if problem else {"correct": right}))
    values = [float(sample["correct"]) for sample in samples if "correct" in sample]
    rows = rows_by_group(task, asked, {ANY: values}, prefix=f"{ANY}_")
    return rows, samples
