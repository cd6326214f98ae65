"""Bits per byte of held-out text, which compares models with different vocabularies.

Each document is read on its own, after one BOS, in windows of the context's length. Each token is
predicted once; the last window reaches back so that it is full (lm-evaluation-harness's rolling
log-likelihood with a context of one). Documents are tokenized as in the bins
(`tasks.documents.tokenize`), `source` (prompt) and `target` as one string. Neither the source's
tokens nor the end-of-document token are counted: only bytes of the target are.

Output rows without a token (padding of the matrix) are masked before the softmax, so padding does
not change any score. The share of probability that they took is reported.

Array suffixes: B documents of a batch, T tokens, V width of the output matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from tasks.documents.heldout import TokenWindow, bits_per, windows
from tasks.evaluation.model import LoadedModel

LOGITS_ELEMENTS = 1 << 26
"""Limit on rows x tokens x vocabulary of a forward pass: 256 MiB of float32 logits.

Exceeded only if a single row needs more.
"""

_DOCUMENTS_AT_ONCE = 512


def score(
    documents: Iterator[tuple[str, str]], model: LoadedModel, batch_size: int
) -> dict[str, Any]:
    """The row of `score_each`."""
    return score_each(documents, model, batch_size)[0]


def score_each(
    documents: Iterator[tuple[str, str]], model: LoadedModel, batch_size: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Score (source, target) documents; returns a row, {} without text, and a sample for each
    document: its `id`, its number among those with text, its `bits` and `bytes`.

    The row has `bits_per_byte` with its standard error, `tokens_per_character`, `tokens_per_byte`,
    `n` documents and their `characters`. Ratios are of sums over all documents. `padding_share`,
    only if the matrix has rows without a token: mean share of probability that these would take at
    the counted tokens.
    """
    nats: list[float] = []
    sizes: list[int] = []
    padding = 0.0
    tokens = characters = 0
    while batch := _take(documents):
        batch_windows: list[TokenWindow] = []
        for index, (ids, source) in enumerate(model.encode_documents(batch)):
            batch_windows.extend(windows(index, [model.bos, *ids], 1 + source, model.max_length))
            tokens += len(ids) - source
        costs = [0.0] * len(batch)
        for window, cost, share in _costs(model, batch_windows, batch_size):
            costs[window.document] += cost
            padding += share
        nats.extend(costs)
        sizes.extend(len(target.encode()) for _, target in batch)
        characters += sum(len(target) for _, target in batch)
    total = sum(sizes)
    if not total:
        return {}, []
    row: dict[str, Any] = bits_per(nats, sizes, "bits_per_byte")
    if len(model.padding_rows) and tokens:
        row["padding_share"] = padding / tokens
    row |= {"tokens_per_character": tokens / characters, "tokens_per_byte": tokens / total}
    samples = [
        {"id": str(number), "bits": round(cost / math.log(2), 6), "bytes": size}
        for number, (cost, size) in enumerate(zip(nats, sizes, strict=True))
    ]
    return {**row, "n": len(nats), "characters": characters}, samples


def _take(documents: Iterator[tuple[str, str]]) -> list[tuple[str, str]]:
    taken = []
    for document in documents:
        if document[1]:
            taken.append(document)
        if len(taken) == _DOCUMENTS_AT_ONCE:
            break
    return taken


def _costs(
    model: LoadedModel, batch_windows: Sequence[TokenWindow], batch_size: int
) -> Iterator[tuple[TokenWindow, float, float]]:
    """Yield (window, nats of its counted targets, sum of the padding rows' share at them).

    Longest windows come first. Batches are padded on the right, where nothing is counted.
    """
    order = sorted(batch_windows, key=lambda window: -len(window.inputs))

    def rows(length: int) -> int:
        return min(batch_size, LOGITS_ELEMENTS // (length * model.vocabulary))

    for part in model.batches([len(window.inputs) for window in order], rows):
        batch = order[part]
        ids_BT, mask_BT = model.pad([window.inputs for window in batch])
        targets_BT, _ = model.pad([window.targets for window in batch])
        with torch.inference_mode():
            logits_BTV = model.model(
                input_ids=ids_BT, attention_mask=mask_BT, use_cache=False
            ).logits.float()
            share_BT = model.mask_padding(logits_BTV)
            nats_BT = torch.nn.functional.cross_entropy(
                logits_BTV.transpose(1, 2), targets_BT, reduction="none"
            )
        for row, window in enumerate(batch):
            counted = slice(window.first_target, len(window.targets))
            share = 0.0 if share_BT is None else float(share_BT[row, counted].double().sum())
            yield window, float(nats_BT[row, counted].double().sum()), share
