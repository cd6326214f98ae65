"""The base's sentencepiece `.model`, grown as the fast tokenizer was."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from tasks.checkpoints.sentencepiece_model import (
    CONTROL,
    NORMAL,
    UNUSED,
    USER_DEFINED,
    SentencePieceModel,
)
from tasks.checkpoints.tokenizer_files import size_of


def grown_model(model: SentencePieceModel, grown: Tokenizer) -> bytes:
    """`model` with the further ids of `grown`, in order, at falling scores below all its own.

    sentencepiece joins the neighbours whose joined piece scores best. So new pieces rank after the
    base's, and among themselves in the order they were learned, as in the fast tokenizer's merges.
    Added tokens become control pieces (special ones) or user-defined ones; ids without a token
    become unused pieces.
    """
    names = {index: token for token, index in grown.get_vocab(with_added_tokens=True).items()}
    added = grown.get_added_tokens_decoder()

    def entry(index: int) -> tuple[str, int]:
        if index not in names:
            return f"<unused_{index}>", UNUSED
        if index in added:
            return names[index], CONTROL if added[index].special else USER_DEFINED
        return names[index], NORMAL

    return model.extended([entry(index) for index in range(len(model.pieces), size_of(grown))])


def differences(blob: bytes, grown: Tokenizer, texts: Sequence[str]) -> list[str]:
    """The texts that sentencepiece and the fast tokenizer segment differently."""
    from sentencepiece import SentencePieceProcessor

    from tasks.tokenizer.measure import plain_ids

    expected = SentencePieceProcessor(model_proto=blob).encode(list(texts))
    return [
        text for text, a, b in zip(texts, expected, plain_ids(grown, texts), strict=True) if a != b
    ]
