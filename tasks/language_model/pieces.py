"""The SentencePiece model of a language: trained so that equal text gives equal bytes.

SentencePiece trains differently with more threads and embeds the name of the file it writes, so it
gets one thread, an iterator and a writer (its own file handling never comes into play).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence

import sentencepiece

SENTENCE_CHARACTERS = 1_000
"""Longest stretch handed to the trainer, which skips those above 4,192 bytes (a character has up to
4).
"""

_TOO_SMALL = re.compile(r"smaller than required_chars\. (\d+) vs (\d+)")


class VocabularyTooSmall(ValueError):
    """The vocabulary does not hold the corpus's characters."""


def sentences(text: str, limit: int = SENTENCE_CHARACTERS) -> Iterator[str]:
    """Cut a normalised document into stretches of at most `limit` characters, after spaces where
    there are any.
    """
    start = 0
    while len(text) - start > limit:
        cut = text.rfind(" ", start + 1, start + limit) + 1 or start + limit
        yield text[start:cut]
        start = cut
    if start < len(text):
        yield text[start:]


def train(documents: Iterable[str], vocabulary: int, character_coverage: float) -> bytes:
    """Train a unigram model on normalised documents; return its file's bytes.

    A corpus that yields fewer pieces than `vocabulary` gives a smaller model. Raises
    `VocabularyTooSmall`.
    """
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(
                sentence for document in documents for sentence in sentences(document)
            ),
            model_writer=written,
            model_type="unigram",
            vocab_size=vocabulary,
            hard_vocab_limit=False,
            character_coverage=character_coverage,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        if found := _TOO_SMALL.search(str(error)):
            raise VocabularyTooSmall(
                f"`vocabulary: {vocabulary}` is below the {found[2]} characters and special pieces "
                f"that `character_coverage: {character_coverage}` asks for; raise the one or lower "
                "the other"
            ) from error
        raise
    return written.getvalue()


def encode(
    model: sentencepiece.SentencePieceProcessor, documents: Sequence[str], threads: int = 1
) -> list[list[str]]:
    """Pieces of normalised documents; an unknown character stands for itself. Equal for any number
    of threads.
    """
    pieces: list[list[str]] = model.encode(list(documents), out_type=str, num_threads=threads)
    return pieces
