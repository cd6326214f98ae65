"""Asks a chat model of Hugging Face that runs here: batches, greedy or sampled.

No code of a repository runs. Prompts of a batch are padded on the left; a prompt that leaves no
room for an answer within the model's positions is not asked, and says so.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.stage import StageError
from tasks.labels.answers import Answer
from tasks.labels.rubric import Request

BATCH = 8

NO_TEMPLATE = (
    "has no chat template (chat_template in tokenizer_config.json, or chat_template.jinja), so it "
    "is no chat model; name one that is, such as an instruct or chat variant"
)


@functools.lru_cache(maxsize=1)
def load(folder: str) -> tuple[Any, Any]:
    """(tokenizer, model), once per process; StageError for what is no chat model."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if not tokenizer.chat_template:
            raise StageError(f"{folder} {NO_TEMPLATE}")
        model = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype="auto"
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise StageError(
            f"{folder} does not load as a language model ({str(error).splitlines()[0]}); name a "
            "folder with config.json, a tokenizer and weights as safetensors"
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return tokenizer, model.to(device).eval()


def ask_all(folder: Path, requests: Sequence[Request]) -> list[Answer]:
    """The answer to each request, in order."""
    tokenizer, model = load(str(folder))
    prompts = [_prompt(tokenizer, request) for request in requests]
    answers: list[Answer | None] = [None] * len(requests)
    positions = int(getattr(model.config, "max_position_embeddings", 0) or 1 << 20)
    fitting = []
    for row, (ids, request) in enumerate(zip(prompts, requests, strict=True)):
        room = positions - len(ids)
        if room < min(16, request.settings["max_tokens"]):
            answers[row] = Answer(
                "", len(ids), problem=f"its {len(ids):,} tokens leave no room in {positions:,}"
            )
        else:
            fitting.append(row)
    fitting.sort(key=lambda row: len(prompts[row]))
    for start in range(0, len(fitting), BATCH):
        rows = fitting[start : start + BATCH]
        found = _generate(
            tokenizer, model, [prompts[row] for row in rows], [requests[row] for row in rows]
        )
        for row, answer in zip(rows, found, strict=True):
            answers[row] = answer
    return [answer for answer in answers if answer is not None]


def _prompt(tokenizer: Any, request: Request) -> list[int]:
    messages = [{"role": role, "content": text} for role, text in request.messages]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # Jinja's own, raised by a template that takes no system message
        raise StageError(
            f"{tokenizer.name_or_path}: its chat template refuses these messages ({error}); leave "
            "`system` out where it knows no such role"
        ) from error
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def _generate(
    tokenizer: Any, model: Any, prompts: list[list[int]], requests: Sequence[Request]
) -> list[Answer]:
    import torch

    started = time.monotonic()
    settings = requests[0].settings
    longest = max(map(len, prompts))
    positions = int(getattr(model.config, "max_position_embeddings", 0) or 1 << 20)
    batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(model.device)
    sampled = settings["temperature"] > 0
    if sampled:
        torch.manual_seed(settings["seed"] + requests[0].number)
    options = {"temperature": settings["temperature"]} if sampled else {}
    with torch.inference_mode():
        made = model.generate(
            **batch,
            max_new_tokens=min(settings["max_tokens"], positions - longest),
            do_sample=sampled,
            top_k=0 if sampled else None,
            top_p=None,
            pad_token_id=tokenizer.pad_token_id,
            **options,
        )
    seconds = round((time.monotonic() - started) / len(prompts), 4)
    answers = []
    for ids, prompt in zip(made[:, longest:].tolist(), prompts, strict=True):
        text = tokenizer.decode(ids, skip_special_tokens=True)
        written = sum(id_ != tokenizer.pad_token_id for id_ in ids)
        answers.append(Answer(text, len(prompt), written, seconds))
    return answers
