"""Loss by position in long text: does a model use its context to the end, or fall apart beyond what it was trained on?

Only real documents count: the first held-out ones of a category that have `length` tokens, cut there, none glued
together from shorter ones. Each is read in one piece after a BOS, also beyond the context that the configuration
states, so that a base and what was made of it can be compared. The token at position p is predicted from BOS and the
p tokens before it; all buckets of positions hold the same documents.

Which documents have `length` tokens depends on the tokenizer: compare models of one tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tasks.evaluation.bits_per_byte import bits_per
from tasks.evaluation.items import mean_and_stderr
from tasks.evaluation.model import LoadedModel
from tasks.evaluation.stage import LongText

_POSITIONS_AT_ONCE = 512
"""Whose logits are float32 at a time."""


Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class LongDocument:
    """The first `ids` of a document, and how many UTF-8 bytes of text the first 1, 2, ... of them spell."""

    ids: tuple[int, ...]
    bytes_upto: tuple[int, ...]


def score(texts: Iterator[str], asked: LongText, model: LoadedModel) -> tuple[Rows, dict[str, int]]:
    """Rows by bucket of positions, and what was found.

    Rows: "" for all `length` positions, then "0-511", "512-1023", ...; each with `bits_per_byte` and
    `nats_per_token`, their standard errors over documents, and n documents. No rows where no document is long enough.
    Found: `read` documents, `long` ones of these that are scored, and tokens of the `longest` that was looked at.

    The logits of one document are in memory: `length` x vocabulary in the model's own type.
    """
    documents, found = long_documents(texts, asked.length, asked.documents, model)
    if not documents:
        return {}, found
    nats = [_nats(document, model) for document in documents]
    buckets = {"": range(asked.length)}
    for low in range(0, asked.length, asked.bucket):
        buckets[f"{low}-{low + asked.bucket - 1}"] = range(low, low + asked.bucket)
    rows: Rows = {}
    for name, positions in buckets.items():
        costs = [float(nats_T[positions.start : positions.stop].sum()) for nats_T in nats]
        sizes = [_bytes_before(d, positions.stop) - _bytes_before(d, positions.start) for d in documents]
        rows[name] = {
            **bits_per(costs, sizes, "bits_per_byte"),
            **mean_and_stderr("nats_per_token", [cost / len(positions) for cost in costs]),
            "n": len(documents),
        }
    return rows, found


def long_documents(
    texts: Iterator[str], length: int, limit: int, model: LoadedModel
) -> tuple[list[LongDocument], dict[str, int]]:
    """The first `limit` texts with `length` tokens, and `read`, `long`, `longest` of the texts looked at."""
    documents: list[LongDocument] = []
    read = longest = 0
    for text in texts:
        read += 1
        if len(text.encode()) < length // 2:
            continue  # a token may stand for no byte (a dummy prefix), but not every other one
        encoded = model.tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
        )
        ids = encoded["input_ids"]
        longest = max(longest, len(ids))
        if len(ids) >= length:
            ends = [end for _, end in encoded["offset_mapping"][:length]]
            documents.append(LongDocument(tuple(ids[:length]), tuple(_bytes_upto(text, ends))))
        if len(documents) == limit:
            break
    return documents, {"read": read, "long": len(documents), "longest": longest}


def _bytes_upto(text: str, ends: Sequence[int]) -> Iterator[int]:
    """UTF-8 bytes of text[:end] for each end; a character spelled by several tokens counts with the first of them."""
    at = size = 0
    for end in ends:
        if end > at:
            size += len(text[at:end].encode())
            at = end
        yield size


def _bytes_before(document: LongDocument, position: int) -> int:
    return document.bytes_upto[position - 1] if position else 0


def _nats(document: LongDocument, model: LoadedModel) -> torch.Tensor:
    """Cost of each token, (T,) float64 on the CPU."""
    ids_1T, _ = model.pad([[model.bos, *document.ids[:-1]]])
    targets_T = torch.tensor(document.ids, device=ids_1T.device)
    costs = []
    with torch.inference_mode():
        logits_TV = model.model(input_ids=ids_1T, use_cache=False).logits[0]
        for low in range(0, len(targets_T), _POSITIONS_AT_ONCE):
            part_CV = logits_TV[low : low + _POSITIONS_AT_ONCE].float()
            model.mask_padding(part_CV)
            targets_C = targets_T[low : low + _POSITIONS_AT_ONCE]
            costs.append(torch.nn.functional.cross_entropy(part_CV, targets_C, reduction="none").double().cpu())
    return torch.cat(costs)
