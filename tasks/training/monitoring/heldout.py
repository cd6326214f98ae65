"""Held-out bits per byte and loss by category, of the model as it trains.

Documents, tokens and windows are those of evaluation's bits per byte (`tasks.documents.heldout`),
the loss is training's own: rows of the output matrix without a token (padding) take part in it,
which evaluation masks. Windows have at most the phase's row length, while evaluation's have the
model's context.

The model is in evaluation mode meanwhile and no random number is drawn, so a phase trains the same
with and without it. All ranks take part: windows are dealt to them, as many passes to each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks.documents.heldout import TokenWindow, bits_per, read_heldout, windows
from tasks.documents.tokenize import DocumentTokenizer
from tasks.training.distributed.ranks import Ranks
from tasks.training.model.loss import IGNORE_INDEX, LossModel


@dataclass(frozen=True)
class HeldOut:
    """The held-out text of one category, tokenized."""

    windows: tuple[TokenWindow, ...]
    """Longest first."""
    sizes: tuple[int, ...]
    """UTF-8 bytes of each document."""

    @property
    def tokens(self) -> int:
        """Tokens that are predicted."""
        return sum(len(window.targets) - window.first_target for window in self.windows)


def read_categories(
    files: Mapping[str, Sequence[str]],
    tokenizer: DocumentTokenizer,
    documents: int,
    length: int,
) -> dict[str, HeldOut]:
    """The first `documents` of each category that has any, in windows of at most `length` tokens.

    Raises:
        StageError: a file is no held-out text.
    """
    found = {}
    for category, paths in sorted(files.items()):
        texts = [text for text in read_heldout([Path(p) for p in paths], documents) if text[1]]
        begin = (tokenizer.begin or tokenizer.end)[:1]
        cut: list[TokenWindow] = []
        for index, tokens in enumerate(tokenizer.encode(texts)):
            first = len(tokenizer.begin)
            ids = tokens.ids[first : len(tokens.ids) - len(tokenizer.end)].tolist()
            prompt = tokens.prompt - first
            cut.extend(windows(index, [*begin, *ids], 1 + prompt, length))
        if cut:
            cut.sort(key=lambda window: -len(window.inputs))
            sizes = tuple(len(target.encode()) for _, target in texts)
            found[category] = HeldOut(tuple(cut), sizes)
    return found


@torch.no_grad()
def held_out_losses(
    model: LossModel,
    categories: Mapping[str, HeldOut],
    *,
    ranks: Ranks,
    rows: int,
    autocast: Callable[[], AbstractContextManager[Any]],
    check_stop: Callable[[], None],
) -> dict[str, dict[str, float]]:
    """By category: `bits_per_byte` (with `bits_per_byte_stderr`), `loss` (nats a token), `tokens`.

    Args:
        rows: windows of one pass of a rank.
        check_stop: called before each pass; what it raises abandons the evaluation.
    """
    results: dict[str, dict[str, float]] = {}
    for category, text in categories.items():
        nats = torch.zeros(len(text.sizes), dtype=torch.float64, device=ranks.device)
        step = rows * ranks.world_size
        for start in range(0, len(text.windows), step):
            check_stop()
            dealt = text.windows[start : start + step]
            own = dealt[ranks.rank :: ranks.world_size]
            ids_BT, labels_BT, positions_BT = _batch(own, len(dealt[0].inputs), ranks.device)
            with autocast():
                _, losses_B = model(ids_BT, labels_BT, positions_BT)
            documents = torch.tensor([w.document for w in own], dtype=torch.int64)
            nats.index_add_(0, documents.to(ranks.device), losses_B[: len(own)].double())
        costs = ranks.sum(nats).tolist()
        results[category] = {
            **bits_per(costs, text.sizes, "bits_per_byte"),
            "loss": math.fsum(costs) / text.tokens,
            "tokens": text.tokens,
        }
    return results


def _batch(
    own: Sequence[TokenWindow], length: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, labels and positions (B, `length`) of windows; one masked row where there are none."""
    shape = (max(1, len(own)), length)
    ids_BT = torch.zeros(shape, dtype=torch.int64)
    labels_BT = torch.full(shape, IGNORE_INDEX)
    for row, window in enumerate(own):
        inputs, counted = len(window.inputs), slice(window.first_target, len(window.targets))
        ids_BT[row, :inputs] = torch.tensor(window.inputs)
        labels_BT[row, counted] = torch.tensor(window.targets[counted])
    positions_BT = torch.arange(length).expand(shape)
    return ids_BT.to(device), labels_BT.to(device), positions_BT.to(device)
