"""Held-out text for bits per byte: documents, windows of their tokens, the ratio and its error.

Evaluation measures finished models with it, training the model as it is inside a phase.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.stage import StageError


@dataclass(frozen=True)
class TokenWindow:
    """Tokens read in one pass.

    `document`: index in the batch. `targets`: the token after each input, shape as `inputs`. Only
    targets from index `first_target` on are counted.
    """

    document: int
    inputs: tuple[int, ...]
    targets: tuple[int, ...]
    first_target: int


def windows(
    document: int, ids: Sequence[int], first_scored: int, max_length: int
) -> Iterator[TokenWindow]:
    """Cut one document into windows that together predict ids[first_scored:], each id once.

    Args:
        ids: BOS and the tokens; shape (n,).
        first_scored: index into `ids` of the first token that counts, at least 1.
        max_length: context of the model in tokens.

    Example: 5 ids (4 to predict) with max_length 3 give inputs 0-2, predicting ids 1-3, and inputs
    1-3, of which only the last prediction, id 4, counts.
    """
    count = len(ids) - 1
    for start in range(0, count, max_length):
        end = min(start + max_length, count)
        low = max(0, end - max_length)
        first = max(start, first_scored - 1) - low
        if first < end - low:
            yield TokenWindow(document, tuple(ids[low:end]), tuple(ids[low + 1 : end + 1]), first)


def read_heldout(paths: Sequence[Path], limit: int | None) -> Iterator[tuple[str, str]]:
    """(`source`, `target`) of the first `limit` lines of the held-out files."""
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
                        f"{path}, line {line_number}: expected a JSON object with a `target` "
                        f"key, but found {line[:120]!r} ({error}); correct the line or remove it"
                    ) from error
                number += 1


def bits_per(nats: Sequence[float], sizes: Sequence[int], metric: str) -> dict[str, float]:
    """`{metric: total bits / total size, metric_stderr: standard error}`.

    Args:
        nats: cost of each document.
        sizes: size of each document, in the unit of the ratio.

    The standard error of the ratio is estimated over documents by the delta method; it is left out
    for a single document.
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
