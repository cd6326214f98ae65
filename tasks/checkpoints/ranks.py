"""What is known of Llama-3's rank file before it is read. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

LLAMA_3_RANKS = 128_000
LLAMA_3_SPECIALS = 256


def is_rank_file(path: Path) -> bool:
    """Whether a `tokenizer.model` is a tiktoken rank file as Llama-3's, not a sentencepiece
    model.
    """
    with path.open("rb") as file:
        fields = file.readline(200).split()
    return len(fields) == 2 and fields[1] == b"0"
