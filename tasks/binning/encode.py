"""Text to arrays of ids: by the reference (`tokenizers`), or by gigatoken where that is equal.

Both give the ids of a batch one after the other in one array; no lists of tokens pass through
Python. `tasks.binning.fast` is gigatoken's, `tasks.binning.probe` decides which one a run uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tasks.documents.tokenize import DocumentTokenizer


class Encoded(NamedTuple):
    """The ids of N documents, one after the other, without begin and end tokens.

    `ids`: uint32; `lengths`: int64 of shape (N,); `prompts`: int64 of shape (N,), how many ids of
    each lie in its prompt (a token that begins there and extends into the text does not).
    """

    ids: npt.NDArray[np.uint32]
    lengths: npt.NDArray[np.int64]
    prompts: npt.NDArray[np.int64]


class Encoder(Protocol):
    """Encodes documents given as (prompt, text), which are tokenized as one string."""

    def encode(self, texts: Sequence[tuple[str, str]]) -> Encoded:
        """The ids of these documents, in order."""
        ...


class Reference:
    """What training and evaluation have always used: Hugging Face's tokenizers."""

    def __init__(self, tokenizer: DocumentTokenizer) -> None:
        self._tokenizer = tokenizer

    def encode(self, texts: Sequence[tuple[str, str]]) -> Encoded:
        """See `Encoder`."""
        begin, end = len(self._tokenizer.begin), len(self._tokenizer.end)
        documents = self._tokenizer.encode(texts)
        plain = [ids[begin : len(ids) - end] for ids, _ in documents]
        return Encoded(
            np.concatenate([np.empty(0, np.uint32), *plain]),
            _integers(map(len, plain)),
            _integers(prompt - begin for _, prompt in documents),
        )


def _integers(values: Iterable[int]) -> npt.NDArray[np.int64]:
    return np.fromiter(values, np.int64)
