"""Loss by position in long text: does a model use its whole context, and what happens beyond it?

1. Take the first held-out documents of a category with at least `length_bytes` of UTF-8, and cut
   them there to spans. Shorter documents are never concatenated.
2. Read each span in one pass after a BOS, even if it is longer than the context that the model's
   configuration states. A document's `source` (prompt) precedes its span, tokenized as one string
   with it as in training, and is not counted.
3. Spread each token's cost evenly over its bytes, and sum costs per bucket of byte positions.

Lengths and positions are in bytes because they do not depend on the tokenizer: all models read the
same spans, and a bucket is the same text for each. How many tokens a span takes is reported.

Array suffixes: S spans, B buckets, T tokens of a span, C tokens at a time, V width of the logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.documents.heldout import bits_per
from tasks.evaluation.model import LoadedModel
from tasks.evaluation.stage import LongText

_TOKENS_AT_ONCE = 512
"""Tokens whose logits are converted to float32 at a time, to bound memory."""

Rows = dict[str, dict[str, Any]]
Values = NDArray[np.float64]


def score(
    documents: Iterator[tuple[str, str]], settings: LongText, model: LoadedModel
) -> tuple[Rows, dict[str, int]]:
    """(rows by bucket of positions, counts) of (source, target) documents.

    Rows: "" for all bytes, then "0-2047", "2048-4095", ...; each has `bits_per_byte`, its standard
    error over documents, `tokens_per_byte` and `n` documents. A token across a border counts in
    both buckets, in proportion to its bytes in each. No rows if no document is long enough.

    Counts: `read`, documents read; `long`, those scored; `longest`, bytes of the longest document
    read; `tokens`, most tokens of a scored span (with BOS and source).

    Memory: the logits of one span, its tokens x vocabulary in the model's own type.
    """
    spans, counts = long_spans(documents, settings.length_bytes, settings.documents)
    if not spans:
        return {}, counts | {"tokens": 0}
    borders = np.arange(0, settings.length_bytes + 1, settings.bucket_bytes)
    costs, token_counts, sizes = [], [], []
    for source, text in spans:
        ids, prompt, ends = tokens_of(source, text, model)
        # A span ends at a whole character, so it may be up to three bytes short.
        span_borders = np.minimum(borders, len(text.encode()))
        costs.append(between(span_borders, ends, _nats(ids, prompt, model)))
        token_counts.append(between(span_borders, ends, np.ones(len(ends))))
        sizes.append(np.diff(span_borders))
        counts["tokens"] = max(counts.get("tokens", 0), 1 + len(ids))
    nats_SB, tokens_SB, bytes_SB = (np.stack(values) for values in (costs, token_counts, sizes))
    columns = {"": slice(None)}
    for index, low in enumerate(borders[:-1].tolist()):
        columns[f"{low}-{low + settings.bucket_bytes - 1}"] = slice(index, index + 1)
    rows: Rows = {
        name: {
            **bits_per(
                nats_SB[:, buckets].sum(1).tolist(),
                bytes_SB[:, buckets].sum(1).tolist(),
                "bits_per_byte",
            ),
            "tokens_per_byte": float(tokens_SB[:, buckets].sum() / bytes_SB[:, buckets].sum()),
            "n": len(spans),
        }
        for name, buckets in columns.items()
    }
    return rows, counts


def long_spans(
    documents: Iterator[tuple[str, str]], length_bytes: int, limit: int
) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """(spans, counts `read`, `long` and `longest` as in `score`).

    A span is (source, beginning of the target) of one of the first `limit` documents whose target
    has at least `length_bytes`. It ends with the last character that fits into `length_bytes`.
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
    """(ids of source and text, number of ids of the source, end of each other token in the text).

    Ends are byte offsets, never decrease, and the last is the end of the text. Tokens that together
    spell one character all end where it does, and so does a dummy prefix. The text may have no ids
    at all, because some tokenizers drop white space.
    """
    ids, prompt, characters = model.encode_located(source, text)
    bytes_upto = np.cumsum([0, *(len(character.encode()) for character in text)])
    ends = np.maximum.accumulate(bytes_upto[characters])
    ends[-1:] = bytes_upto[-1]
    return ids, prompt, ends


def between(
    borders: Sequence[int] | NDArray[np.int64], ends: NDArray[np.int64], values: Values
) -> Values:
    """Sums of token `values` between neighbouring `borders`; a token's is spread over its bytes.

    Borders and ends are byte offsets. If the borders reach from 0 to the last end, the sums add up
    to the sum of all values. Example: tokens that end at 2 and 6 with values 1 and 4 give, for
    borders 0, 4, 6, the sums 1 + 2 and 2.
    """
    if not len(ends):
        return np.zeros(len(borders) - 1)
    # Tokens that end at the same byte share their bytes: only the last of them counts as an end.
    last = np.append(ends[1:] != ends[:-1], True)
    upto = np.interp(borders, [0, *ends[last]], [0, *np.cumsum(values)[last]])
    upto[0] = 0
    return np.diff(upto)


def _nats(ids: Sequence[int], prompt: int, model: LoadedModel) -> Values:
    """Cost in nats of each token from index `prompt` on; shape (T,)."""
    if len(ids) == prompt:
        return np.zeros(0)
    ids_1T, _ = model.pad([[model.bos, *ids[:-1]]])
    targets_T = torch.tensor(ids[prompt:], device=ids_1T.device)
    costs = []
    with torch.inference_mode():
        logits_TV = model.model(input_ids=ids_1T, use_cache=False).logits[0, prompt:]
        for low in range(0, len(targets_T), _TOKENS_AT_ONCE):
            part_CV = logits_TV[low : low + _TOKENS_AT_ONCE].float()
            model.hide_padding(part_CV)
            targets_C = targets_T[low : low + _TOKENS_AT_ONCE]
            costs.append(
                torch.nn.functional.cross_entropy(part_CV, targets_C, reduction="none")
                .double()
                .cpu()
            )
    nats_T: Values = torch.cat(costs).numpy()
    return nats_T
