"""Bits per byte of held-out text: the model's cost of a text over the text's own size, whatever the
vocabulary.

Every document is read by itself after one BOS, in windows of the context's length; each token is
predicted once, and the last window reaches back so that it is full (lm-evaluation-harness's rolling
likelihood with a context of one). The tokens are those of the bins (`tasks.documents.tokenize`): a
document's `source` (prompt) and its target are one string. The source is read but not counted, and
neither is the end-of-document token: it is no byte of text.

Rows of the output matrix that no token has take no part in the softmax: text cannot hold them, so
how wide a matrix is padded changes no figure. What share of probability they took is reported.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from infra.stage import StageError
from tasks.evaluation.model import LoadedModel

LOGITS_ELEMENTS = 1 << 26
"""Rows x tokens x vocabulary of one forward pass: 256 MiB of float32 logits, more only where one
row needs it.
"""

_DOCUMENTS_AT_ONCE = 512


@dataclass(frozen=True)
class Window:
    """Tokens `inputs`, of which the targets from `first_target` on count; `document` is a running
    number.
    """

    document: int
    inputs: tuple[int, ...]
    targets: tuple[int, ...]
    first_target: int


def windows(
    document: int, ids: Sequence[int], first_scored: int, max_length: int
) -> Iterator[Window]:
    """Cut one document into windows that together predict ids[first_scored:], each id once.

    Args:
        ids: BOS and the tokens; shape (n,).
        first_scored: index into `ids` of the first token that counts, at least 1.
        max_length: tokens that the model reads at once.
    """
    count = len(ids) - 1
    for start in range(0, count, max_length):
        end = min(start + max_length, count)
        low = max(0, end - max_length)
        first = max(start, first_scored - 1) - low
        if first < end - low:
            yield Window(document, tuple(ids[low:end]), tuple(ids[low + 1 : end + 1]), first)


def read_heldout(paths: Sequence[Path], limit: int | None) -> Iterator[tuple[str, str]]:
    """(`source`, `target`) of every line of the held-out files, the first `limit`."""
    number = 0
    for path in paths:
        with path.open(encoding="utf-8") as stream:
            for line_number, line in enumerate(stream, 1):
                if number == limit:
                    return
                try:
                    row = json.loads(line)
                    yield row.get("source", ""), row["target"]
                except (ValueError, KeyError, AttributeError) as error:
                    raise StageError(
                        f"{path}, line {line_number}: not held-out text: {error}: {line[:120]!r}"
                    ) from error
                number += 1


def score(
    documents: Iterator[tuple[str, str]], model: LoadedModel, batch_size: int
) -> dict[str, Any]:
    """`bits_per_byte` with its error, `tokens_per_character`, `tokens_per_byte`, n documents and
    their `characters`.

    The ratio of sums over all documents. `padding_share`, where the matrix has rows that no token
    has: the mean share of probability that they would take at the counted tokens. Empty where there
    is no text.
    """
    nats: list[float] = []
    sizes: list[int] = []
    padding = 0.0
    tokens = characters = 0
    while batch := _take(documents):
        cut: list[Window] = []
        for index, (ids, source) in enumerate(model.encode_documents(batch)):
            cut.extend(windows(index, [model.bos, *ids], 1 + source, model.max_length))
            tokens += len(ids) - source
        costs = [0.0] * len(batch)
        for window, cost, share in _costs(model, cut, batch_size):
            costs[window.document] += cost
            padding += share
        nats.extend(costs)
        sizes.extend(len(target.encode()) for _, target in batch)
        characters += sum(len(target) for _, target in batch)
    total = sum(sizes)
    if not total:
        return {}
    row: dict[str, Any] = bits_per(nats, sizes, "bits_per_byte")
    if len(model.padding_rows) and tokens:
        row["padding_share"] = padding / tokens
    row |= {"tokens_per_character": tokens / characters, "tokens_per_byte": tokens / total}
    return {**row, "n": len(nats), "characters": characters}


def bits_per(nats: Sequence[float], sizes: Sequence[int], metric: str) -> dict[str, float]:
    """`{metric: bits over size, metric_stderr: error}` of the sums over documents.

    The error is the delta method's, over documents; left out for a single one.
    """
    total = sum(sizes)
    ratio = math.fsum(nats) / math.log(2) / total
    if len(nats) < 2:
        return {metric: ratio}
    residuals = [
        (cost / math.log(2) - ratio * size) ** 2 for cost, size in zip(nats, sizes, strict=True)
    ]
    error = math.sqrt(math.fsum(residuals) * len(nats) / (len(nats) - 1)) / total
    return {metric: ratio, f"{metric}_stderr": error}


def _take(documents: Iterator[tuple[str, str]]) -> list[tuple[str, str]]:
    taken = []
    for document in documents:
        if document[1]:
            taken.append(document)
        if len(taken) == _DOCUMENTS_AT_ONCE:
            break
    return taken


def _costs(
    model: LoadedModel, cut: Sequence[Window], batch_size: int
) -> Iterator[tuple[Window, float, float]]:
    """(window, nats of its counted targets, sum of the padding rows' share at them), longest
    windows first.

    Rows are padded on the right, which never counts.
    """
    order = sorted(cut, key=lambda window: -len(window.inputs))

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
