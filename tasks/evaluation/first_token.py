"""The first-token protocol of MMLU, CMMLU and ColossalEval: the option letter with highest logit.

The prompt lists the options and ends in "Answer:" or the like. A letter's token may differ after a
space and after a colon. So, as in ColossalEval, its score is the larger logit of two candidates:
the last token of "Answer: A" and that of "Answer:A" (with the prompt's own last line).

Array suffixes: B prompts of a batch, T tokens, K distinct last positions, V width of the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from infra.stage import StageError
from tasks.benchmarks.scores import FIRST_TOKEN
from tasks.evaluation.items import (
    Asked,
    Question,
    notes,
    rows_by_group,
    sample_head,
    unasked_sample,
)
from tasks.evaluation.model import LoadedModel

METRIC = f"{FIRST_TOKEN}acc"


def score(
    task: str, questions: Sequence[Question], model: LoadedModel, batch_size: int
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], list[str]]:
    """(rows with `first_token_acc`, its standard error and counts; a sample per item; notes).

    Of a prompt longer than the context only the end is used, and it is counted as cut.
    """
    prompts = [
        [] if question.problem else model.encode_prompt(question.prompt) for question in questions
    ]
    asked = [
        Asked(question, question.problem, len(ids) > model.max_length)
        for question, ids in zip(questions, prompts, strict=True)
    ]
    prompts = [ids[-model.max_length :] for ids in prompts]
    # `batches` expects falling lengths.
    order = [index for index, item in enumerate(asked) if not item.problem]
    order.sort(key=lambda index: (-len(prompts[index]), index))
    candidates: dict[tuple[str, str], list[int]] = {}
    samples = [unasked_sample(item) if item.problem else {} for item in asked]
    for part in model.batches([len(prompts[index]) for index in order], lambda _: batch_size):
        batch = order[part]
        logits_BV = _last_logits(model, [prompts[index] for index in batch])
        for row, index in enumerate(batch):
            question = questions[index]
            ending = question.prompt.rpartition("\n")[2]
            scores = []
            for letter in question.answers:
                key = (ending, letter)
                if key not in candidates:
                    candidates[key] = _letter_ids(model, ending, letter)
                scores.append(float(logits_BV[row, candidates[key]].max()))
            prediction = max(range(len(scores)), key=scores.__getitem__)
            samples[index] = {
                **sample_head(question),
                "prediction": prediction,
                "correct": prediction in question.right,
                "logits": [round(value, 4) for value in scores],
            }
    correct = [
        float(sample["correct"])
        for sample, item in zip(samples, asked, strict=True)
        if not item.problem
    ]
    rows = rows_by_group(task, asked, {METRIC: correct}, prefix=FIRST_TOKEN)
    return rows, samples, notes(task, "first-token", asked, model.max_length)


def _letter_ids(model: LoadedModel, ending: str, letter: str) -> list[int]:
    encoded = [model.encode_prompt(f"{ending}{gap}{letter}") for gap in ("", " ")]
    ids = sorted({tokens[-1] for tokens in encoded if tokens})
    if not ids:
        raise StageError(
            f"the tokenizer has no token for option {letter!r}; remove first-token from protocols"
        )
    return ids


def _last_logits(model: LoadedModel, rows: Sequence[list[int]]) -> torch.Tensor:
    """Logits after the last token of each row, (B, V) float32.

    The output matrix is applied at the last positions only.
    """
    ids_BT, mask_BT = model.pad(rows)
    last_B = torch.tensor([len(row) - 1 for row in rows], device=ids_BT.device)
    keep_K, which_B = torch.unique(last_B, return_inverse=True)
    with torch.inference_mode():
        logits_BKV = model.model(
            input_ids=ids_BT, attention_mask=mask_BT, use_cache=False, logits_to_keep=keep_K
        ).logits
    picked: torch.Tensor = (
        logits_BKV[torch.arange(len(rows), device=ids_BT.device), which_B].float().cpu()
    )
    return picked
