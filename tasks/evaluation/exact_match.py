"""The exact-match protocol: the model writes an answer, which is compared with the right ones.

`exact_match`: what the rule of `generation.extract` finds in the answer equals one of the right
answers (`tasks.benchmarks.exact`). Where numbers are asked for there is also `exact_match_last`,
by the last-number rule (lm-evaluation-harness calls the two strict-match and flexible-extract).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.benchmarks.exact import accepted_values, compared
from tasks.benchmarks.scores import EXACT_MATCH
from tasks.benchmarks.styles import Generation
from tasks.evaluation.generate import Prompt, generate, room_for_prompt
from tasks.evaluation.items import (
    Asked,
    Question,
    notes,
    rows_by_group,
    sample_head,
    unasked_sample,
)
from tasks.evaluation.model import LoadedModel

_FIELDS = {EXACT_MATCH: "correct", f"{EXACT_MATCH}_last": "correct_last"}


def score(
    task: str,
    questions: Sequence[Question],
    settings: Generation,
    model: LoadedModel,
    batch_size: int,
    *,
    bos: str = "auto",
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], list[str]]:
    """(rows with `exact_match`, its standard error and counts; a sample per item; notes)."""
    prompts = [
        [] if question.problem else model.encode_prompt(question.prompt, bos)
        for question in questions
    ]
    room = room_for_prompt(model, settings)
    asked = [
        Asked(question, question.problem, len(ids) > room)
        for question, ids in zip(questions, prompts, strict=True)
    ]
    order = [index for index, item in enumerate(asked) if not item.problem]
    written = generate(
        [Prompt(tuple(prompts[index]), questions[index].group) for index in order],
        settings,
        model,
        batch_size,
    )
    samples = [unasked_sample(item) if item.problem else {} for item in asked]
    for index, answer in zip(order, written, strict=True):
        samples[index] = _sample(questions[index], answer, settings.extract)
    names = [name for name, field in _FIELDS.items() if any(field in s for s in samples)]
    values = {
        name: [float(samples[index][_FIELDS[name]]) for index in order]
        for name in names or [EXACT_MATCH]
    }
    rows = rows_by_group(task, asked, values, prefix=f"{EXACT_MATCH}_")
    return rows, samples, notes(task, "exact-match", asked, room)


def _sample(question: Question, answer: str, extract: str) -> dict[str, Any]:
    accepted = accepted_values(question.accepted, extract)
    found = compared(answer, extract)
    sample = {
        **sample_head(question),
        "accepted": sorted(accepted),
        "written": answer,
        "found": found[0],
        "correct": found[0] in accepted,
    }
    if len(found) > 1:
        sample |= {"found_last": found[1], "correct_last": found[1] in accepted}
    return sample
