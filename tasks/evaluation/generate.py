"""Greedy generation after many prompts, in batches, each of which reads worked examples once.

Equal to lm-evaluation-harness's `generate_until` with `do_sample: false`: a prompt keeps its last
`max_length - tokens` tokens, an answer ends before the first of the stop strings, at the end token,
or after `tokens` tokens. Rows are padded on the left.

Array suffixes: B rows of a batch, T tokens, U tokens seen so far (with cached and padded ones).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tasks.benchmarks.styles import Generation
from tasks.evaluation.forward import (
    WORTH_CACHING,
    Cached,
    common,
    read_beginning,
    repeated,
    sees_by_mask_only,
)
from tasks.evaluation.model import LoadedModel


@dataclass(frozen=True)
class Prompt:
    """Token ids of a prompt; prompts of one `group` share worked examples."""

    ids: tuple[int, ...]
    group: str = ""


def room_for_prompt(model: LoadedModel, settings: Generation) -> int:
    """Tokens of a prompt that are kept, so that the answer has room."""
    return max(1, model.max_length - settings.tokens)


def generate(
    prompts: Sequence[Prompt], settings: Generation, model: LoadedModel, batch_size: int
) -> list[str]:
    """The answer after each prompt, without its stop string."""
    found = [""] * len(prompts)
    kept = [prompt.ids[-room_for_prompt(model, settings) :] for prompt in prompts]
    groups: dict[str, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(prompt.group, []).append(index)
    for members in groups.values():
        shared: tuple[int, ...] = ()
        if len(members) > 1 and sees_by_mask_only(model):
            shared = common([kept[index][:-1] for index in members])
        shared = shared if len(shared) >= WORTH_CACHING else ()
        cached = read_beginning(shared, model) if shared else []
        order = sorted(members, key=lambda index: (-len(kept[index]), index))
        lengths = [len(kept[index]) for index in order]
        for part in model.batches(lengths, lambda _: batch_size):
            rows = [kept[index][len(shared) :] for index in order[part]]
            for index, answer in zip(
                order[part], _answers(rows, cached, len(shared), settings, model), strict=True
            ):
                found[index] = answer
    return found


def _answers(
    rows: Sequence[tuple[int, ...]],
    cached: Cached,
    shared: int,
    settings: Generation,
    model: LoadedModel,
) -> list[str]:
    device = model.model.device
    length = max(map(len, rows))
    ids_BT = torch.zeros((len(rows), length), dtype=torch.long)
    seen_BT = torch.zeros_like(ids_BT)
    for number, row in enumerate(rows):
        ids_BT[number, length - len(row) :] = torch.tensor(row)
        seen_BT[number, length - len(row) :] = 1
    before_BS = torch.ones((len(rows), shared), dtype=torch.long)
    seen_BU = torch.cat([before_BS, seen_BT], 1).to(device)
    positions_BT = (seen_BU.cumsum(1) - 1).clamp(min=0)[:, shared:]
    cache = repeated(cached, len(rows))
    given_BT = ids_BT.to(device)
    written: list[list[int]] = [[] for _ in rows]
    going = set(range(len(rows)))
    end = model.tokenizer.eos_token_id
    with torch.inference_mode():
        for _ in range(settings.tokens):
            output = model.model(
                input_ids=given_BT,
                attention_mask=seen_BU,
                position_ids=positions_BT,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = output.past_key_values
            logits_BV = output.logits[:, -1].float()
            model.hide_padding(logits_BV)
            chosen = logits_BV.argmax(-1)
            for number in sorted(going):
                id = int(chosen[number])
                written[number].append(id)
                if id == end or _has_stop(written[number], settings.until, model):
                    going.discard(number)
            if not going:
                break
            given_BT = chosen[:, None]
            seen_BU = torch.cat([seen_BU, torch.ones_like(seen_BU[:, :1])], 1)
            positions_BT = positions_BT[:, -1:] + 1
    texts = (model.tokenizer.decode(ids, skip_special_tokens=True) for ids in written)
    return [_cut(text, settings.until) for text in texts]


def _has_stop(ids: Sequence[int], until: Sequence[str], model: LoadedModel) -> bool:
    """Whether the last tokens contain a stop string (one of n bytes spans at most n tokens)."""
    if not until:
        return False
    last = 1 + max(len(stop.encode()) for stop in until)
    tail = model.tokenizer.decode(ids[-last:], skip_special_tokens=True)
    return any(stop in tail for stop in until)


def _cut(text: str, until: Sequence[str]) -> str:
    for stop in until:
        text = text.split(stop, 1)[0]
    return text
