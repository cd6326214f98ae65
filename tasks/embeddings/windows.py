"""Divides texts into windows that a model can read, and windows into batches of fixed shapes.

A batch has one of a few lengths and, for it, always the same number of rows: what a matrix product
rounds depends on its shape, so that a document has the same vector whatever stands beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

BATCH_TOKENS = 2_048
"""Tokens of a batch, padding included. One thread gains nothing from larger ones."""

_LENGTHS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)


class Span(NamedTuple):
    """Tokens [start, end) of a document."""

    start: int
    end: int


def spans(tokens: int, most: int, windows: int) -> list[Span]:
    """The windows of a document of `tokens` tokens, each of `most` tokens at most.

    Up to `windows` of them cover it in equal parts; beyond that, so many are spread evenly.
    """
    count = -(-tokens // most)
    if count <= windows:
        edges = [number * tokens // max(count, 1) for number in range(count + 1)]
        return [Span(start, end) for start, end in itertools.pairwise(edges)]
    if windows == 1:
        return [Span(0, most)]
    starts = [number * (tokens - most) // (windows - 1) for number in range(windows)]
    return [Span(start, start + most) for start in starts]


class Shape(NamedTuple):
    """Rows and tokens of a batch."""

    rows: int
    tokens: int


def shape_for(tokens: int) -> Shape:
    """The shape of the batch that holds a window of so many tokens."""
    length = next((fixed for fixed in _LENGTHS if tokens <= fixed), -(-tokens // 512) * 512)
    return Shape(max(1, BATCH_TOKENS // length), length)


def batches(lengths: Sequence[int]) -> Iterator[tuple[Shape, list[int]]]:
    """Batches of windows, given by their numbers of tokens: (shape, indices of the windows in it).

    All have the rows of their shape, except that the last of a shape may lack some.
    """
    by_shape: dict[Shape, list[int]] = {}
    for index, length in enumerate(lengths):
        by_shape.setdefault(shape_for(length), []).append(index)
    for shape, indices in sorted(by_shape.items(), key=lambda item: item[0].tokens):
        for first in range(0, len(indices), shape.rows):
            yield shape, indices[first : first + shape.rows]
