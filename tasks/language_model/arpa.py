"""The ARPA format of back-off language models, which KenLM and SRILM read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.language_model.ngram_counts import NgramOrder

Floats = npt.NDArray[np.float64]

LOG10_DECIMALS = 6
"""Decimals of log10 values in the ARPA file. KenLM stores float32, so more would not matter, and
rounding hides last-bit differences between libraries.
"""

_WRITE_ROWS = 500_000


def write_arpa(
    path: Path,
    words: Sequence[str],
    orders: Sequence[NgramOrder],
    probabilities: Iterable[tuple[Floats, Floats | None]],
) -> None:
    """Write a model.

    Args:
        words: by id.
        probabilities: for each order, probability and back-off weight of its n-grams (None for the
            highest order).
    """
    names = pa.array(words, pa.string())
    with path.open("wb") as stream:
        sizes = "".join(f"ngram {n}={len(order.word)}\n" for n, order in enumerate(orders, 1))
        stream.write(f"\\data\\\n{sizes}".encode())
        for index, (probability, backoff) in enumerate(probabilities):
            stream.write(f"\n\\{index + 1}-grams:\n".encode())
            for start in range(0, len(probability), _WRITE_ROWS):
                rows = slice(start, start + _WRITE_ROWS)
                _write_lines(
                    stream,
                    probability[rows],
                    _grams(orders, index, rows, names),
                    None if backoff is None else backoff[rows],
                )
        stream.write(b"\n\\end\\\n")


def _grams(orders: Sequence[NgramOrder], index: int, rows: slice, words: pa.Array) -> pa.Array:
    """Some n-grams of order `index + 1` as text, words separated by spaces."""
    order = orders[index]
    columns = [words.take(pa.array(order.word[rows]))]
    # From the last word to the first: the last word of the context, of its context, and so on.
    context = order.context[rows]
    for lower in reversed(orders[:index]):
        columns.insert(0, words.take(pa.array(lower.word[context])))
        context = lower.context[context]
    return pc.binary_join_element_wise(*columns, " ")


def _log10(values: Floats, end: str) -> pa.Array:
    """log10, rounded and at most 0, as text with `end` appended; log10(0) is -99, as in SRILM."""
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.minimum(np.log10(values), 0.0), -99.0)
    # Adding 0.0 turns -0.0 into 0.0.
    text = pc.cast(pa.array(np.round(logs, LOG10_DECIMALS) + 0.0), pa.string())
    return pc.binary_join_element_wise(text, end, "") if end else text


def _write_lines(
    stream: IO[bytes], probability: Floats, grams: pa.Array, backoff: Floats | None
) -> None:
    if backoff is None:
        lines = pc.binary_join_element_wise(
            _log10(probability, ""), pc.binary_join_element_wise(grams, "\n", ""), "\t"
        )
    else:
        lines = pc.binary_join_element_wise(
            _log10(probability, ""), grams, _log10(backoff, "\n"), "\t"
        )
    # Buffer 2 of a string array is all strings end to end: the lines, without Python objects.
    stream.write(lines.buffers()[2])
