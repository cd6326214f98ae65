"""What models answered, item by item: differences with paired errors, and the score of guessing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.store import Artifact
from tasks.benchmarks.scores import SAMPLE_FIELDS

SAMPLES = "samples/"

Key = tuple[str, str]
"""A row of scores (a task, or `task/group`) and a metric."""


@dataclass
class Answers:
    """One model's answers to the items of a row, by one metric."""

    right: dict[str, float] = field(default_factory=dict)
    """Item -> 1 where the answer is right, else 0."""
    guessing: dict[str, float] = field(default_factory=dict)
    """Item -> probability that a guess is right; empty where the choices are not known."""

    @property
    def chance(self) -> float | None:
        """Expected score of guessing; None where it is not known for every item."""
        known = len(self.guessing) == len(self.right) > 0
        return sum(self.guessing.values()) / len(self.guessing) if known else None


def read_answers(evaluation: Artifact) -> dict[Key, Answers]:
    """All answers of an evaluation, from its `samples/*.jsonl`; none where these are deleted."""
    found: dict[Key, Answers] = {}
    for file in evaluation.files(SAMPLES):
        if not evaluation.data.exists(file):
            continue
        stem = file.removeprefix(SAMPLES).removesuffix(".jsonl")
        ending = next(ending for ending in SAMPLE_FIELDS if stem.endswith(ending))
        task = stem.removesuffix(ending).replace("__", "/")
        for number, line in enumerate(evaluation.path(file).read_bytes().splitlines()):
            _add(found, task, f"{number}", json.loads(line), SAMPLE_FIELDS[ending])
    return found


def _add(
    found: dict[Key, Answers],
    task: str,
    place: str,
    sample: Mapping[str, Any],
    fields: Mapping[str, str],
) -> None:
    """Add one sample to its task's row and its group's. The place in the file tells items apart
    whose ids are equal.
    """
    item = f"{place} {sample['id']}"
    task = sample.get("task", task)
    choices = sample.get("logits") or sample.get("loglikelihoods")
    for metric, name in fields.items():
        if sample.get(name) is None or (metric != "mc2" and "mass" in sample):
            continue
        for row in (task, *([f"{task}/{sample['group']}"] if sample.get("group") else [])):
            answers = found.setdefault((row, metric), Answers())
            answers.right[item] = float(sample[name])
            if choices:
                answers.guessing[item] = (1 + len(sample.get("also_right", ()))) / len(choices)


def paired_difference(before: Answers, after: Answers) -> tuple[float, float] | None:
    """Mean change of the items that both models answered, and its standard error; None for fewer
    than two.

    Pairing removes what the items' difficulty adds to the errors of both scores (Miller 2024,
    arXiv:2411.00640, section 4.2).
    """
    shared = [item for item in before.right if item in after.right]
    changes = [after.right[item] - before.right[item] for item in shared]
    if len(changes) < 2:
        return None
    mean = sum(changes) / len(changes)
    variance = sum((change - mean) ** 2 for change in changes) / (len(changes) - 1)
    return mean, math.sqrt(variance / len(changes))
