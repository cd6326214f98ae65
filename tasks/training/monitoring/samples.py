"""Texts that the model as it trains continues from fixed prompts, greedily and by drawing.

Without a cache: each token is one pass over all prompts. That costs little beside training, and
needs nothing of the model but its forward pass, also where it is split over ranks. The random
numbers of drawing are the same at each evaluation and are the samples' own, so what differs between
two evaluations is the model, and training's random state is left alone.

Symbols: P prompts, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from tasks.documents.tokenize import DocumentTokenizer
from tasks.training.distributed.ranks import Ranks
from tasks.training.model.loss import LossModel


@dataclass(frozen=True)
class Prompts:
    """Prompts and their ids."""

    texts: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    tokens: int
    """Tokens of a continuation."""
    ends: frozenset[int]
    """Ids that end a text."""
    known: tuple[int, ...]
    """Ids that the tokenizer has."""
    decode: Callable[[Sequence[int]], str]


def read_prompts(folder: Path, texts: Sequence[str], tokens: int) -> Prompts:
    """Prompts by the tokenizer in `folder`, each after the token that begins a document.

    Raises:
        ValueError: a prompt and its continuation are longer than the model's positions.
    """
    tokenizer = DocumentTokenizer(folder)
    begin = (tokenizer.begin or tokenizer.end)[:1]
    first, last = len(tokenizer.begin), len(tokenizer.end)
    encoded = tokenizer.encode([("", text) for text in texts])
    ids = tuple((*begin, *found.ids[first : len(found.ids) - last].tolist()) for found in encoded)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    positions = config.get("max_position_embeddings")
    for text, own in zip(texts, ids, strict=True):
        if positions and len(own) + tokens > positions:
            raise ValueError(
                f"training.evaluation: the prompt {text[:40]!r} has {len(own):,} tokens and "
                f"{tokens:,} more are to follow, but the model has {positions:,} positions; "
                "shorten it, or lower training.evaluation.tokens"
            )
    decoder = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    return Prompts(
        tuple(texts),
        ids,
        tokens,
        frozenset(tokenizer.end),
        tuple(sorted(set(decoder.get_vocab().values()))),
        lambda found: str(decoder.decode(found, skip_special_tokens=True)),
    )


@torch.no_grad()
def continuations(
    model: LossModel,
    prompts: Prompts,
    *,
    ranks: Ranks,
    temperature: float,
    seed: int,
    autocast: Callable[[], AbstractContextManager[Any]],
    check_stop: Callable[[], None],
) -> list[dict[str, str]]:
    """`prompt`, `greedy` and `sampled` of every prompt; the last two begin with the prompt.

    All ranks take part. `seed`: of drawing. `check_stop`: called before each token; what it raises
    abandons the samples.
    """
    # The first P are continued greedily.
    rows = [list(ids) for ids in (*prompts.ids, *prompts.ids)]
    greedy = len(prompts.ids)
    ended = [False] * len(rows)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(prompts.tokens):
        check_stop()
        ids_BT, positions_BT, last_B = _batch(rows, ranks.device)
        with autocast():
            logits_BV = model.next_logits(ids_BT, positions_BT, last_B)
        logits_BV = logits_BV.double().cpu()
        known_V = torch.zeros(logits_BV.shape[1], dtype=torch.bool)
        known_V[[id for id in prompts.known if id < len(known_V)]] = True
        logits_BV = logits_BV.masked_fill(~known_V, -torch.inf)
        shares_PV = (logits_BV[greedy:] / temperature).softmax(-1)
        broken_P1 = ~shares_PV.sum(-1, keepdim=True).isfinite()  # of a model that has diverged
        shares_PV = torch.where(broken_P1, known_V.double(), shares_PV)
        drawn_P = torch.multinomial(shares_PV, 1, generator=draw)[:, 0]
        chosen = torch.cat([logits_BV[:greedy].argmax(-1), drawn_P]).tolist()
        # Ranks may differ in the last bits, and must go on with the same tokens.
        for row, id in enumerate(ranks.from_main(chosen)):
            ended[row] = ended[row] or id in prompts.ends
            if not ended[row]:
                rows[row].append(id)
        if all(ended):
            break
    texts = [prompts.decode(row) for row in rows]
    return [
        {"prompt": prompt, "greedy": texts[row], "sampled": texts[greedy + row]}
        for row, prompt in enumerate(prompts.texts)
    ]


def _batch(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Ids and positions (B, T), padded on the right, and each row's last token (B,)."""
    length = max(map(len, rows))
    ids_BT = torch.zeros((len(rows), length), dtype=torch.int64)
    for row, ids in enumerate(rows):
        ids_BT[row, : len(ids)] = torch.tensor(ids)
    positions_BT = torch.arange(length).expand(len(rows), -1)
    last_B = torch.tensor([len(ids) - 1 for ids in rows])
    return ids_BT.to(device), positions_BT.to(device), last_B.to(device)
