"""Perplexity of a document exactly as cc_net computes it.

The whole normalised document is one KenLM sentence of SentencePiece pieces. Perplexity is
`10^(-log10 p / (pieces + 1))`, where the extra one is `</s>`, rounded to one decimal. (CCNet's
paper scores paragraphs; its code, and so its published cut-offs, documents.)
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import kenlm
import numpy as np
import pyarrow as pa
import sentencepiece

from tasks.documents.records import records
from tasks.text.normalise import CC_NET, CONTROLS, Steps, normalise

DECIMALS = 1


@dataclass(frozen=True)
class ModelFiles:
    """Local paths of one language's SentencePiece and n-gram model, and how their text is
    normalised.
    """

    sentencepiece: Path
    lm: Path
    steps: Steps = CC_NET


class Scorer:
    """The two models of one language."""

    def __init__(self, files: ModelFiles) -> None:
        """Load both models; `OSError` or `RuntimeError` if a file is missing or damaged."""
        quiet = kenlm.Config()
        quiet.show_progress = False
        quiet.arpa_complain = kenlm.ARPALoadComplain.NONE
        self._lm = kenlm.Model(str(files.lm), quiet)
        self._segmenter = Segmenter(str(files.sentencepiece))
        self._steps = files.steps

    def perplexities(self, texts: Sequence[str]) -> list[float | None]:
        """Perplexity of each text; None if normalising leaves nothing. Independent of batching.

        All texts take a step before any takes the next: SentencePiece and KenLM in turns push each
        other out of the processor's cache, which costs a fifth of the speed.
        """
        normal = [normalise(text, self._steps) for text in texts]
        lines = [self._segmenter.line(text) for text in normal]
        score = self._lm.score
        return [
            round(10.0 ** (-score(line) / (words + 1)), DECIMALS) if line else None
            for line, words in lines
        ]


class Segmenter:
    """Turns text into what KenLM reads: pieces as UTF-8, separated by spaces.

    SentencePiece gives bytes in three quarters of the time that strings take, and KenLM does not
    encode them.
    """

    def __init__(self, model_file: str) -> None:
        """Load a SentencePiece model; `RuntimeError` if it is missing or damaged."""
        self._model = sentencepiece.SentencePieceProcessor(model_file=model_file)
        # cc_net counts the words of the line. They are the pieces, unless a model keeps spaces.
        pieces = [self._model.id_to_piece(index) for index in range(len(self._model))]
        spaces = self._model.encode(f"a{'a'.join(_SPACES)}a", out_type=str)
        self._spaces_stay = any(len(piece.split()) != 1 for piece in [*pieces, *spaces])

    def line(self, text: str) -> tuple[bytes, int]:
        """The line of a normalised text, and its number of words."""
        pieces = self._model.encode(text, out_type=bytes)
        line = b" ".join(pieces)
        return line, len(line.decode().split()) if self._spaces_stay else len(pieces)


_SPACES = [
    chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace() and code not in CONTROLS
]


@functools.lru_cache(maxsize=32)
def scorer(files: ModelFiles) -> Scorer:
    """The scorer of these files, loaded once in each worker process."""
    return Scorer(files)


def annotate_perplexity(
    models: Mapping[str, ModelFiles], max_characters: int | None, table: pa.Table
) -> pa.Table:
    """Column `perplexity` (float64) for a table with `text`, `prompt` and `language`.

    Null where the language has no model. A document with a prompt is scored as prompt, space, text.
    """
    languages = np.asarray(table["language"].to_pylist(), dtype=object)
    record_texts = records(table, " ")  # the normaliser deletes line feeds
    scores: list[float | None] = [None] * table.num_rows
    for language, files in models.items():
        rows = np.flatnonzero(languages == language)
        if not len(rows):
            continue
        texts = [text[:max_characters] for text in record_texts.take(pa.array(rows)).to_pylist()]
        for row, value in zip(rows.tolist(), scorer(files).perplexities(texts), strict=True):
            scores[row] = value
    return pa.table({"perplexity": pa.array(scores, pa.float64())})
