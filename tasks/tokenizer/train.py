"""Starting point of a tokenizer trained from scratch: the 256 bytes as a base to be grown."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer

from tasks.checkpoints.fast_tokenizers import LLAMA_3_WORDS, byte_level_style, byte_level_token

BOS, EOS, PAD = "<|begin_of_text|>", "<|end_of_text|>", "<|pad|>"
SETTINGS: dict[str, Any] = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD}


def bytes_only() -> Tokenizer:
    """Ids 0 to 255 are the bytes, 256 to 258 the special tokens; words are split as in Llama-3."""
    vocabulary = {byte_level_token(bytes([byte])): byte for byte in range(256)}
    return byte_level_style(vocabulary, [], [BOS, EOS, PAD], bos=BOS, words=LLAMA_3_WORDS)
