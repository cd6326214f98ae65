"""Loss by position in long text: does a model use its context to the end, or fall apart beyond what
it was trained on?

Only real documents count: the first held-out ones of a category that have `length_bytes` of UTF-8,
cut there, none glued together from shorter ones. Length and positions are counted in bytes of text,
which no tokenizer changes: all models of a run read the same spans of the same documents, and a
bucket of positions is the same text for each.

Each span is read in one piece after a BOS, also beyond the context that the configuration states: a
model whose tokenizer needs more tokens than that shows it here, as it would in use. How many tokens
a span takes is reported. A document's `source` (prompt) stands before its span, one string with it
as in training, and is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.evaluation.bits_per_byte import bits_per
from tasks.evaluation.model import LoadedModel
from tasks.evaluation.stage import LongText

_TOKENS_AT_ONCE = 512
"""Whose logits are float32 at a time."""

Rows = dict[str, dict[str, Any]]
Values = NDArray[np.float64]


def score(
    documents: Iterator[tuple[str, str]], asked: LongText, model: LoadedModel
) -> tuple[Rows, dict[str, int]]:
    """Rows by bucket of positions of (source, target) documents, and what was found.

    Rows: "" for all bytes, then "0-2047", "2048-4095", ...; each with `bits_per_byte`, its standard
    error over documents, `tokens_per_byte` and n documents. No rows where no document is long
    enough. A token that stands across the border of two buckets counts in both, by its bytes in
    each. Found: `read` documents, `long` ones of these that are scored, bytes of the `longest` that
    was looked at, and the most `tokens` that a scored span has (with BOS and source).

    The logits of one span are in memory: its tokens x vocabulary in the model's own type.
    """
    spans, found = long_spans(documents, asked.length_bytes, asked.documents)
    if not spans:
        return {}, found | {"tokens": 0}
    borders = np.arange(0, asked.length_bytes + 1, asked.bucket_bytes)
    costs, counts, sizes = [], [], []
    for source, text in spans:
        ids, prompt, ends = tokens_of(source, text, model)
        # Cut at a character's end, a span may lack up to three bytes.
        span_borders = np.minimum(borders, len(text.encode()))
        costs.append(between(span_borders, ends, _nats(ids, prompt, model)))
        counts.append(between(span_borders, ends, np.ones(len(ends))))
        sizes.append(np.diff(span_borders))
        found["tokens"] = max(found.get("tokens", 0), 1 + len(ids))
    nats_SB, tokens_SB, bytes_SB = (np.stack(values) for values in (costs, counts, sizes))
    names = [f"{low}-{low + asked.bucket_bytes - 1}" for low in borders[:-1].tolist()]
    columns = {"": slice(None)} | {name: slice(at, at + 1) for at, name in enumerate(names)}
    rows: Rows = {
        name: {
            **bits_per(
                nats_SB[:, some].sum(1).tolist(), bytes_SB[:, some].sum(1).tolist(), "bits_per_byte"
            ),
            "tokens_per_byte": float(tokens_SB[:, some].sum() / bytes_SB[:, some].sum()),
            "n": len(spans),
        }
        for name, some in columns.items()
    }
    return rows, found


def long_spans(
    documents: Iterator[tuple[str, str]], length_bytes: int, limit: int
) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """(source, beginning of the target) of the first `limit` documents whose targets have
    `length_bytes`.

    Also `read`, `long`, `longest` of those looked at. A span ends with the last whole character in
    `length_bytes`.
    """
    spans: list[tuple[str, str]] = []
    read = longest = 0
    for source, target in documents:
        read += 1
        encoded = target.encode()
        longest = max(longest, len(encoded))
        if len(encoded) >= length_bytes:
            spans.append((source, encoded[:length_bytes].decode(errors="ignore")))
        if len(spans) == limit:
            break
    return spans, {"read": read, "long": len(spans), "longest": longest}


def tokens_of(
    source: str, text: str, model: LoadedModel
) -> tuple[list[int], int, NDArray[np.int64]]:
    """Ids of source and text, how many are the source's, and at which byte of the text each of the
    others ends.

    Ends never fall; the last is the text's end. Of several tokens that spell one character, each
    ends where the character does; a dummy prefix likewise. No ids are the text's where the
    tokenizer leaves nothing of it (white space, to some).
    """
    ids, prompt, characters = model.encode_located(source, text)
    bytes_upto = np.cumsum([0, *(len(character.encode()) for character in text)])
    ends = np.maximum.accumulate(bytes_upto[characters])
    ends[-1:] = bytes_upto[-1]
    return ids, prompt, ends


def between(
    borders: Sequence[int] | NDArray[np.int64], ends: NDArray[np.int64], values: Values
) -> Values:
    """Sums of the tokens' `values` between neighbouring borders (bytes), each token's spread evenly
    over its bytes.

    The sums add up to the sum of all values where the borders reach from 0 to the last end.
    """
    if not len(ends):
        return np.zeros(len(borders) - 1)
    last = np.append(
        ends[1:] != ends[:-1], True
    )  # of tokens that end together: they share their bytes
    upto = np.interp(borders, [0, *ends[last]], [0, *np.cumsum(values)[last]])
    upto[0] = 0
    return np.diff(upto)


def _nats(ids: Sequence[int], prompt: int, model: LoadedModel) -> Values:
    """Cost of each token from `prompt` on, (T,)."""
    if len(ids) == prompt:
        return np.zeros(0)
    ids_1T, _ = model.pad([[model.bos, *ids[:-1]]])
    targets_T = torch.tensor(ids[prompt:], device=ids_1T.device)
    costs = []
    with torch.inference_mode():
        logits_TV = model.model(input_ids=ids_1T, use_cache=False).logits[0, prompt:]
        for low in range(0, len(targets_T), _TOKENS_AT_ONCE):
            part_CV = logits_TV[low : low + _TOKENS_AT_ONCE].float()
            model.mask_padding(part_CV)
            targets_C = targets_T[low : low + _TOKENS_AT_ONCE]
            costs.append(
                torch.nn.functional.cross_entropy(part_CV, targets_C, reduction="none")
                .double()
                .cpu()
            )
    found: Values = torch.cat(costs).numpy()
    return found
