"""Trains the SentencePiece model of a language so that equal text gives equal bytes.

SentencePiece's result depends on the number of threads, and the model contains the name of the file
written. So it gets one thread, an iterator to read from and a writer instead of file names.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence

import sentencepiece

SENTENCE_CHARACTERS = 1_000
"""Longest sentence given to the trainer, which skips those over 4,192 bytes (a character has up to
4 bytes).
"""

_TOO_SMALL = re.compile(r"smaller than required_chars\. (\d+) vs (\d+)")


class VocabularyTooSmall(ValueError):
    """The vocabulary has fewer pieces than the corpus needs for its characters."""


def sentences(text: str, limit: int = SENTENCE_CHARACTERS) -> Iterator[str]:
    """Cut a normalised document into stretches of at most `limit` characters, after a space if any.

    The stretches concatenate to the document.
    """
    start = 0
    while len(text) - start > limit:
        cut = text.rfind(" ", start + 1, start + limit) + 1 or start + limit
        yield text[start:cut]
        start = cut
    if start < len(text):
        yield text[start:]


def train(documents: Iterable[str], vocabulary: int, character_coverage: float) -> bytes:
    """Train a unigram model on normalised documents; return the bytes of its file.

    The model has fewer pieces than `vocabulary` if the corpus yields no more. Raises
    `VocabularyTooSmall` if `vocabulary` is below the characters that must be covered.
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
        if sizes := _TOO_SMALL.search(str(error)):
            raise VocabularyTooSmall(
                f"`vocabulary: {vocabulary}` is below the {sizes[2]} characters and special pieces "
                f"required by `character_coverage: {character_coverage}`; raise `vocabulary` or "
                "lower `character_coverage`"
            ) from error
        raise
    return written.getvalue()


def encode(
    model: sentencepiece.SentencePieceProcessor, documents: Sequence[str], threads: int = 1
) -> list[list[str]]:
    """Pieces of normalised documents, equal for any number of threads.

    A character that the model does not know is its own piece.
    """
    pieces: list[list[str]] = model.encode(list(documents), out_type=str, num_threads=threads)
    return pieces
