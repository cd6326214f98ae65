"""The first-token protocol of MMLU, CMMLU and ColossalEval: the option letter with highest logit.

The prompt lists the options and ends in "Answer:" or the like. A letter's token may differ after a
space and after a colon. So, as in ColossalEval, its score is the larger logit of two candidates:
the last token of "Answer: A" and that of "Answer:A" (with the prompt's own last line).

Array suffixes: N prompts of a batch, V width of the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infra.stage import StageError
from tasks.benchmarks.scores import FIRST_TOKEN
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

METRIC = f"{FIRST_TOKEN}acc"


def score(
    task: str,
    questions: Sequence[Question],
    model: LoadedModel,
    batch_size: int,
    *,
    bos: str = "auto",
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], list[str]]:
    """(rows with `first_token_acc`, its standard error and counts; a sample per item; notes).

    Of a prompt longer than the context only the end is used, and it is counted as cut.
    """
    prompts = [
        [] if question.problem else model.encode_prompt(question.prompt, bos)
        for question in questions
    ]
    asked = [
        Asked(question, question.problem, len(ids) > model.max_length)
        for question, ids in zip(questions, prompts, strict=True)
    ]
    order = [index for index, item in enumerate(asked) if not item.problem]
    requests = [
        Request((tuple(prompts[index][-model.max_length :]),), (1,), questions[index].group)
        for index in order
    ]
    candidates: dict[tuple[str, str], list[int]] = {}
    samples = [unasked_sample(item) if item.problem else {} for item in asked]
    for logits_NV, places in logits_of(requests, model, batch_size):
        for place in places:
            index = order[place.request]
            question = questions[index]
            ending = question.prompt.rpartition("\n")[2]
            for letter in question.answers:
                if (ending, letter) not in candidates:
                    candidates[ending, letter] = letter_ids(model, ending, letter)
            ids = [candidates[ending, letter] for letter in question.answers]
            scores = [float(logits_NV[place.rows[0], own].max()) for own in ids]
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


def letter_ids(model: LoadedModel, ending: str, letter: str) -> list[int]:
    """Ids of the tokens that may say an option's letter after the last line of a prompt.

    Raises `StageError` for a letter that is no single token.
    """
    encoded = [model.encode_prompt(f"{ending}{gap}{letter}") for gap in ("", " ")]
    last = {tokens[-1] for tokens in encoded if tokens}
    ids = sorted(id for id in last if letter in model.tokenizer.decode([id]))
    if not ids:
        shown = model.tokenizer.convert_ids_to_tokens(encoded[-1][-3:])
        raise StageError(
            f"option {letter!r} is no single token after {ending!r}: the tokenizer in "
            f"{model.folder} ends it with {shown}; remove first-token from protocols"
        )
    return ids
