"""What models did item by item: differences with paired errors, and the score of guessing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.store import Artifact
from tasks.benchmarks.scores import SAMPLE_FIELDS

SAMPLES = "samples/"
BITS = "bits_per_byte"
"""The metric of text that is predicted, not asked about."""


Key = tuple[str, str]
"""A row of scores (a task, or `task/group`) and a metric."""


@dataclass
class Answers:
    """One model's answers to the items of a row, by one metric."""

    right: dict[str, float] = field(default_factory=dict)
    """Item -> its score, for most metrics 1 where the answer is right, else 0."""
    guessing: dict[str, float] = field(default_factory=dict)
    """Item -> probability that a guess is right; empty where the choices are not known."""

    @property
    def chance(self) -> float | None:
        """Expected score of guessing; None where it is not known for every item."""
        known = len(self.guessing) == len(self.right) > 0
        return sum(self.guessing.values()) / len(self.guessing) if known else None


@dataclass
class TextBits:
    """What predicting the documents of a row of held-out text cost one model."""

    documents: list[tuple[float, int]] = field(default_factory=list)
    """Bits and bytes of every document, in order."""


Items = Answers | TextBits


def read_items(evaluation: Artifact) -> dict[Key, Items]:
    """All answers and texts of an evaluation, from its `samples/*.jsonl`; none where these are
    deleted.
    """
    answers: dict[Key, Answers] = {}
    texts: dict[Key, TextBits] = {}
    rows = {row.replace("/", "__"): row for row in evaluation.statistics.get("scores", {})}
    for file in evaluation.files(SAMPLES):
        if not evaluation.data.exists(file):
            continue
        name = file.removeprefix(SAMPLES).removesuffix(".jsonl")
        ending = next(ending for ending in SAMPLE_FIELDS if name.endswith(ending))
        task = name.removesuffix(ending)
        for number, line in enumerate(evaluation.path(file).read_bytes().splitlines()):
            sample = json.loads(line)
            if "bits" in sample:
                documents = texts.setdefault((rows.get(name, name), BITS), TextBits()).documents
                documents.append((sample["bits"], sample["bytes"]))
            else:
                row = rows.get(task, task)
                _add(answers, row, f"{number}", sample, SAMPLE_FIELDS[ending])
    return {**answers, **texts}


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
    for metric, score in _scores(sample, fields):
        for row in (task, *([f"{task}/{sample['group']}"] if sample.get("group") else [])):
            answers = found.setdefault((row, metric), Answers())
            answers.right[item] = score
            if choices:
                answers.guessing[item] = (1 + len(sample.get("also_right", ()))) / len(choices)


def _scores(sample: Mapping[str, Any], fields: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """The metrics of a sample with its score by each."""
    for metric, name in fields.items():
        if sample.get(name) is not None and (metric == "mc2" or "mass" not in sample):
            yield metric, float(sample[name])
    for metric, score in sample.get("scores", {}).items():
        yield metric, float(score)


def paired_change(before: Items | None, after: Items | None) -> tuple[float, float] | None:
    """The change over what both models were given, and its standard error; None where they were
    given different things, or fewer than two.
    """
    if isinstance(before, Answers) and isinstance(after, Answers):
        return paired_difference(before, after)
    if isinstance(before, TextBits) and isinstance(after, TextBits):
        return paired_ratio(before.documents, after.documents)
    return None


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


def paired_ratio(
    before: Sequence[tuple[float, int]], after: Sequence[tuple[float, int]]
) -> tuple[float, float] | None:
    """Change of bits per byte over the same documents, given as (bits, bytes), and its standard
    error by the delta method; None for other documents, or fewer than two.
    """
    sizes = [size for _, size in before]
    if len(sizes) < 2 or sizes != [size for _, size in after]:
        return None
    total = sum(sizes)
    differences = [new - old for (old, _), (new, _) in zip(before, after, strict=True)]
    change = math.fsum(differences) / total
    residuals = (
        (difference - change * size) ** 2
        for difference, size in zip(differences, sizes, strict=True)
    )
    return change, math.sqrt(math.fsum(residuals) * len(sizes) / (len(sizes) - 1)) / total
