"""Vectors of texts as sums of their tokens' vectors ("bags": the order of tokens is lost).

The table of token vectors is made by stage token_vectors, weights included. Sums are taken token by
token in float64, so that they are equal wherever they are computed and beside whatever.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types
from tokenizers import Tokenizer

from tasks.documents.vectors import Vectors
from tasks.text.compiled import compiled

_GROUP_CHARACTERS = 1_000_000


class Bags:
    """A table of token vectors, float32 of shape (V, D), and the tokenizer of its rows."""

    def __init__(self, table: npt.NDArray[np.float32], tokenizer: Tokenizer) -> None:
        self._table, self._tokenizer = table, tokenizer
        self._tokenizer.encode_special_tokens = True  # text that spells one is text
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.int64]]:
        """The ids of every text, without special tokens."""
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, np.int64) for encoding in found]

    def sums(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """The sum of every text's token vectors, shape (N, D)."""
        sums = np.zeros((len(texts), self._table.shape[1]), np.float64)
        row = 0
        while row < len(texts):
            end, size = row, 0
            while end < len(texts) and (size == 0 or size + len(texts[end]) <= _GROUP_CHARACTERS):
                size += len(texts[end]) or 1
                end += 1
            ids = self.tokens(texts[row:end])
            starts = np.cumsum([0, *map(len, ids)])
            add_tokens(self._table, np.concatenate(ids), starts, sums[row:end])
            row = end
        return sums

    def vectors(self, texts: Sequence[str]) -> tuple[Vectors, npt.NDArray[np.bool_]]:
        """(unit vectors of N texts, shape (N, D); which have one). A text has none without a token
        that has a vector.
        """
        sums = self.sums(texts)
        lengths = np.sqrt((sums**2).sum(axis=1))
        known = lengths > 0
        sums[known] /= lengths[known, None]
        return sums.astype(np.float32), known


@compiled(
    types.void(
        types.Array(types.float32, 2, "C", readonly=True),
        types.int64[::1],
        types.int64[::1],
        types.float64[:, ::1],
    )
)
def add_tokens(table: Any, ids: Any, starts: Any, sums: Any) -> None:
    """Add to `sums[d]` the rows of `table` that `ids[starts[d]:starts[d + 1]]` name."""
    for document in range(sums.shape[0]):
        total = sums[document]
        for index in range(starts[document], starts[document + 1]):
            row = table[ids[index]]
            for dimension in range(total.shape[0]):
                total[dimension] += row[dimension]


@functools.lru_cache(maxsize=2)
def bags(table_file: Path, tokenizer_file: Path) -> Bags:
    """The table of a file, mapped into memory once in each worker process."""
    table = np.load(table_file, mmap_mode="r", allow_pickle=False)
    return Bags(table, Tokenizer.from_file(str(tokenizer_file)))
