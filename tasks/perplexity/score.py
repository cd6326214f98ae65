"""Perplexity of a document exactly as cc_net computes it.

The whole normalised document is one KenLM sentence of SentencePiece pieces. Perplexity is
`10^(-log10 p / (pieces + 1))`, where the extra one is `</s>`, rounded to one decimal. (CCNet's
paper scores paragraphs; its code, and so its published cut-offs, documents.)
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import kenlm
import numpy as np
import pyarrow as pa
import sentencepiece

from tasks.documents.records import records
from tasks.text.normalise import normalise

DECIMALS = 1


@dataclass(frozen=True)
class ModelFiles:
    """Local paths of one language's SentencePiece and n-gram model."""

    sentencepiece: str
    lm: str


class Scorer:
    """The two models of one language."""

    def __init__(self, files: ModelFiles) -> None:
        """Load both models; `OSError` if a file is missing or damaged."""
        quiet = kenlm.Config()
        quiet.show_progress = False
        quiet.arpa_complain = kenlm.ARPALoadComplain.NONE
        self._pieces = sentencepiece.SentencePieceProcessor(model_file=files.sentencepiece)
        self._lm = kenlm.Model(files.lm, quiet)

    def perplexities(self, texts: Sequence[str]) -> list[float | None]:
        """Perplexity of each text; None if normalising leaves nothing. Independent of batching."""
        score = self._lm.score
        return [
            round(10.0 ** (-score(" ".join(pieces)) / (len(pieces) + 1)), DECIMALS)
            if pieces
            else None
            for pieces in self._pieces.encode(
                [normalise(text) for text in texts], out_type=str, num_threads=1
            )
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
