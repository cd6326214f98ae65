"""The harness protocol: the likelihood of each answer, as lm-evaluation-harness 0.4.13 has it.

Prompts are encoded, cut and scored, and metrics computed, by the harness's rules; a test compares
every likelihood and choice with its own model class. What differs is how tokens get through the
model (`tasks.evaluation.forward`) and that probabilities are computed in float32 for any type of
weights.

- `acc`: the answer of highest likelihood is right. `acc_norm`: the same with likelihoods divided by
  the answer's length in characters.
- `mc2` (TruthfulQA): the share of probability of the right answers, where several are right.

Items that cannot be scored (an answer that adds no token, or is longer than the context) are
skipped and reported; prompts that lose their beginning are counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from tasks.evaluation.forward import Request, logits_of
from tasks.evaluation.items import (
    Asked,
    Question,
    notes,
    rows_by_group,
    sample_head,
    unasked_sample,
)
from tasks.evaluation.model import LoadedModel


class EncodedPair(NamedTuple):
    """Token ids of a prompt and of an answer after it.

    `spans`: the prompt's tokens change when the answer follows, because a token spans the two.
    """

    prompt: list[int]
    answer: list[int]
    spans: bool


def encode_pairs(
    model: LoadedModel, prompts: Sequence[str], answers: Sequence[str], bos: str = "auto"
) -> list[EncodedPair]:
    """Encode each answer (with its delimiter) after its prompt, as the harness does."""
    # The harness moves trailing spaces of the prompt to the answer.
    known = {prompt: model.encode_prompt(prompt.rstrip(), bos) for prompt in set(prompts)}
    pairs = []
    for prompt, answer in zip(prompts, answers, strict=True):
        prompt_ids, ids = known[prompt], model.encode_prompt(prompt + answer, bos)
        spans = ids[: len(prompt_ids)] != prompt_ids
        pairs.append(EncodedPair(prompt_ids, ids[len(prompt_ids) :], spans))
    return pairs


def answer_problem(answer: Sequence[int], max_length: int) -> str:
    """Why an answer with these token ids cannot be scored; "" if it can."""
    if not answer:
        return "an answer with no token of its own after the prompt (a token spans the two)"
    return "an answer longer than the context" if len(answer) > max_length else ""


def is_cut(prompt: Sequence[int], answer: Sequence[int], max_length: int) -> bool:
    """Whether the beginning of the prompt is cut off."""
    return len(prompt) + len(answer) > max_length + 1


def log_likelihoods(
    items: Sequence[Sequence[EncodedPair]],
    groups: Sequence[str],
    model: LoadedModel,
    batch_size: int,
) -> list[list[float]]:
    """For each item, the log-likelihood (nats) of each of its answers after its prompt."""
    requests = []
    for pairs, group in zip(items, groups, strict=True):
        whole = ([*pair.prompt, *pair.answer][-(model.max_length + 1) :][:-1] for pair in pairs)
        wanted = tuple(len(pair.answer) for pair in pairs)
        requests.append(Request(tuple(map(tuple, whole)), wanted, group))
    found = [[math.nan] * len(pairs) for pairs in items]
    for logits_NV, places in logits_of(requests, model, batch_size):
        targets = [id for place in places for id in items[place.request][place.sequence].answer]
        rows = [row for place in places for row in place.rows]
        rows_M, targets_M = torch.tensor([rows, targets], device=logits_NV.device)
        chosen_M = logits_NV[rows_M, targets_M] - logits_NV.logsumexp(1)[rows_M]
        nats = chosen_M.double().cpu()
        start = 0
        for place in places:
            stop = start + len(place.rows)
            found[place.request][place.sequence] = float(nats[start:stop].sum())
            start = stop
    return found


def score(
    task: str,
    questions: Sequence[Question],
    delimiter: str,
    model: LoadedModel,
    batch_size: int,
    *,
    bos: str = "auto",
    mass: bool = False,
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], list[str]]:
    """(rows with `acc` and `acc_norm`, or `mc2` if `mass`, and errors; a sample per item; notes).

    There is a row for the task and for each group. Items that cannot be scored are skipped, counted
    and noted: a choice that is empty, longer than the context, or without a token of its own
    because the last token of the prompt includes it.
    """
    asked: list[Asked] = []
    pairs_of: list[list[EncodedPair]] = []
    spanning: list[str] = []
    for question in questions:
        pairs = []
        problem = question.problem
        if not problem:
            words = [delimiter + answer for answer in question.answers]
            pairs = encode_pairs(model, question.prompts, words, bos)
            problems = (answer_problem(pair.answer, model.max_length) for pair in pairs)
            problem = next(filter(None, problems), "")
        cut = not problem and any(is_cut(p.prompt, p.answer, model.max_length) for p in pairs)
        asked.append(Asked(question, problem, cut))
        if not problem:
            pairs_of.append(pairs)
            if any(pair.spans for pair in pairs):
                spanning.append(question.id)
    scored = [item.question for item in asked if not item.problem]
    found = log_likelihoods(pairs_of, [q.group for q in scored], model, batch_size)
    scored_samples = iter(
        [
            _sample(question, likelihoods, mass)
            for question, likelihoods in zip(scored, found, strict=True)
        ]
    )
    samples = [unasked_sample(item) if item.problem else next(scored_samples) for item in asked]
    metrics = {"mc2": "mass"} if mass else {"acc": "correct", "acc_norm": "correct_norm"}
    if any(question.beginnings for question in questions):
        del metrics["acc_norm"]  # all answers are the same text
    values = {
        metric: [float(sample[field]) for sample in samples if "not_asked" not in sample]
        for metric, field in metrics.items()
    }
    rows = rows_by_group(task, asked, values)
    task_notes = notes(task, "harness", asked, model.max_length)
    if spanning:
        task_notes.append(
            f"{task} (harness): {len(spanning):,} of {len(asked):,} items where a token spans "
            f"prompt and answer, and only what follows it is scored (first: item {spanning[0]!r}); "
            "a delimiter of one blank avoids it"
        )
    return rows, samples, task_notes


def _sample(question: Question, likelihoods: Sequence[float], mass: bool) -> dict[str, Any]:
    by_length = [
        value / len(answer) for value, answer in zip(likelihoods, question.answers, strict=True)
    ]
    best, best_norm = (max(range(len(v)), key=v.__getitem__) for v in (likelihoods, by_length))
    sample = {
        **sample_head(question),
        "prediction": best,
        "correct": best in question.right,
        "correct_norm": best_norm in question.right,
        "loglikelihoods": [round(value, 4) for value in likelihoods],
    }
    if mass:
        highest = max(likelihoods)
        shares = [math.exp(value - highest) for value in likelihoods]
        sample["mass"] = sum(shares[index] for index in question.right) / sum(shares)
    return sample
