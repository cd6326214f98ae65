"""Compression as a function of vocabulary size, exact and from a single run; and its knee.

A grown tokenizer's merges rank in the order they were learned, and a merge joins only what earlier
ones left. So a tokenizer cut off after k new tokens segments any text as the full one does, with
all later tokens split back into their parts. The counts of one full segmentation therefore give the
number of tokens at every size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.tokenizer.learn import LearnedStep

KNEE_TOKENS = 1_000
KNEE_GAIN = 0.005
"""The knee: 1,000 more tokens are worth adding while they save half a percent of the text's."""

Parts = dict[int, tuple[int, ...]]
"""New id -> ids it is joined from: two, or the byte tokens of a character that became a piece."""


def knee(
    steps: Sequence[LearnedStep[Any]],
    before: int,
    *,
    per: int = KNEE_TOKENS,
    gain: float = KNEE_GAIN,
) -> int:
    """How many of `steps` to keep: those up to the knee.

    The knee is the last step at whose rate `per` more steps would save `gain` of all tokens left.
    `before`: tokens of the training text as the base segments it. A pair is at most as frequent as
    each of its halves, so savings decrease (except for runs of one character, where a pair overlaps
    itself), and the knee does not depend on the largest size tried, as long as it lies below that.
    (The point farthest from a chord, another usual definition, moves with the chord's end.) For a
    7B Llama, 1,000 tokens are 0.12 % of the weights and 0.06 % of the arithmetic of each token.

    One token is subtracted from each saving: a piece is known only because it occurred, so its
    count is too high for other text by about one (absolute discounting, Ney et al. 1994). Otherwise
    a small training text would yield too large a vocabulary.
    """
    left, kept = before, 0
    for number, step in enumerate(steps, 1):
        left -= step.saved
        if (step.saved - 1) * per >= gain * left:
            kept = number
    return kept


def uses_when_last(uses: Mapping[int, int], parts: Parts) -> dict[int, int]:
    """How often each new token would occur in a text if it were the last one learned.

    `uses`: counts of ids in the full segmentation; `parts`: in the order of learning. A token with
    0 does not occur in the text at all; one that has uses here but none in `uses` serves only as a
    step to longer tokens.
    """
    count = dict(uses)
    for token_id, joined in reversed(parts.items()):
        for part in joined:
            count[part] = count.get(part, 0) + count.get(token_id, 0)
    return {token_id: count.get(token_id, 0) for token_id in parts}


def tokens_by_size(uses: Mapping[int, int], parts: Parts) -> list[int]:
    """Tokens of a text with the first 0, 1, ... all new tokens, from its full segmentation."""
    tokens = [sum(uses.values())]
    for token_id, count in reversed(uses_when_last(uses, parts).items()):
        tokens.append(tokens[-1] + count * (len(parts[token_id]) - 1))
    return tokens[::-1]


def sizes_to_show(start: int, end: int, points: int = 32) -> list[int]:
    """About `points` distinct sizes, evenly spaced from `start` to `end` inclusive."""
    return sorted({start + (end - start) * n // points for n in range(points + 1)})
