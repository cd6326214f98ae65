"""Train a byte-level BPE from nothing: the 256 bytes as a base, then the same learner that grows other bases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer

from tasks.checkpoints.tokenizer_files import LLAMA_3_WORDS, byte_level_style, byte_level_token
from tasks.tokenizer.expand import NewToken, continue_bpe

BOS, EOS, PAD = "<|begin_of_text|>", "<|end_of_text|>", "<|pad|>"
SETTINGS: dict[str, Any] = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD}


def bytes_only() -> Tokenizer:
    """Ids 0 to 255 are the bytes, 256 to 258 the special tokens; words as Llama-3 cuts them."""
    vocabulary = {byte_level_token(bytes([byte])): byte for byte in range(256)}
    return byte_level_style(vocabulary, [], [BOS, EOS, PAD], bos=BOS, words=LLAMA_3_WORDS)


def train(texts: Iterable[str], size: int, longest: int) -> tuple[Tokenizer, list[NewToken]]:
    """A tokenizer of exactly `size` tokens."""
    return continue_bpe(bytes_only(), texts, size, longest)
