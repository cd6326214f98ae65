"""Corpora for deduplication's benchmarks: Zipf prose of 2.5 kB with planted near duplicates, the
same on any machine.

A text is words drawn from a vocabulary of 50,000 by Zipf's law (exponent 1.1), in sentences. About
one document in six is a planted copy of an earlier one with some of its words replaced, so that a
pair's true Jaccard similarity is known by counting. Blocks of `BLOCK` documents are drawn from
their own seeds: a corpus of a million is the first thousand's continuation, and memory stays at one
block.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

BLOCK = 2_000
WORDS = 430
"""Words of a document: 2.5 kB with spaces and punctuation, as in English."""

PLANTED = 338
"""Planted pairs in a block: 3,380 in 20,000 documents."""

EDITS = (0, 1, 2, 4, 6, 8, 12, 20, 40)
"""Words replaced in a planted copy, in turn; with 5-word shingles 8 edits leave a Jaccard
similarity of about 0.81.
"""

_VOCABULARY = 50_000
_SENTENCE = 17


@dataclass(frozen=True)
class Pair:
    """Documents `original` and `copy` (numbers in the corpus), the copy with `edits` words
    replaced.
    """

    original: int
    copy: int
    edits: int


def vocabulary() -> list[str]:
    """Distinct words of 2 to 14 letters, frequent ones short; one in 200 has a letter beyond
    ASCII.
    """
    rng = np.random.default_rng(7)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    weights = np.cumsum(1 / np.arange(1, 27) ** 0.7)
    weights /= weights[-1]
    found: dict[str, None] = {}
    while len(found) < _VOCABULARY:
        length = int(np.clip(2.6 + len(found) ** 0.2 + rng.normal(0, 1.5), 2, 14))
        word = "".join(letters[np.searchsorted(weights, rng.random(length))])
        found[word + "é" if rng.random() < 0.005 else word] = None
    return list(found)


class Corpus:
    """`texts(block)` and `pairs(block)`; blocks are numbered from 0 and hold `BLOCK` documents."""

    def __init__(self) -> None:
        words = vocabulary()
        self._words = np.array(words, dtype=object)
        self._capitals = np.array([word.capitalize() for word in words], dtype=object)
        self._weights = np.cumsum(1 / np.arange(1, _VOCABULARY + 1) ** 1.1)
        self._weights /= self._weights[-1]

    def texts(self, block: int) -> list[str]:
        """The documents of one block."""
        numbers = self.word_numbers(block)
        words = self._words[numbers]
        words[:, ::_SENTENCE] = self._capitals[numbers[:, ::_SENTENCE]]
        words[:, _SENTENCE - 1 :: _SENTENCE] += "."
        return [" ".join(row) for row in words]

    def word_numbers(self, block: int) -> npt.NDArray[np.int64]:
        """The words of one block's documents, shape (BLOCK, WORDS), as numbers in the
        vocabulary.
        """
        rng = np.random.default_rng((11, block))
        numbers = np.searchsorted(self._weights, rng.random((BLOCK, WORDS)))
        for pair in self.pairs(block):
            row = numbers[pair.original - block * BLOCK].copy()
            at = rng.permutation(WORDS)[: pair.edits]
            row[at] = rng.integers(0, _VOCABULARY, pair.edits)
            numbers[pair.copy - block * BLOCK] = row
        return numbers

    def pairs(self, block: int) -> list[Pair]:
        """The planted pairs of one block: document 2 i + 1 is a copy of 2 i."""
        first = block * BLOCK
        return [
            Pair(first + 2 * i, first + 2 * i + 1, EDITS[i % len(EDITS)]) for i in range(PLANTED)
        ]

    def blocks(self, documents: int) -> Iterator[list[str]]:
        """All texts of a corpus of `documents`, a block at a time."""
        for block in range(-(-documents // BLOCK)):
            yield self.texts(block)[: documents - block * BLOCK]


def write_jsonl(folder: Path, documents: int, files: int) -> list[Path]:
    """`documents` documents as `{"id", "text"}` lines in `files` files; returns their paths."""
    corpus = Corpus()
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.jsonl" for number in range(files)]
    number = 0
    streams = [path.open("w", encoding="utf-8") for path in paths]
    for texts in corpus.blocks(documents):
        for text in texts:
            line = json.dumps({"id": str(number), "text": text}, ensure_ascii=False)
            streams[number * files // documents].write(line + "\n")
            number += 1
    for stream in streams:
        stream.close()
    return paths
