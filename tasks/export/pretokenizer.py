"""How llama.cpp is told which splitting into words a byte-level tokenizer uses.

Its converter recognises published tokenizers by a hash of the ids that they give one text. A grown
tokenizer gives other ids, and so is refused ("BPE pre-tokenizer was not recognized"), or recognised
only while none of its new tokens occur in that text. But the split into words is the base's: it is
found by asking about the tokenizer without its new tokens, which segments as the base does, or by
the expression that splits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer

from tasks.checkpoints.fast_tokenizers import LLAMA_3_WORDS

LLAMA_3 = "llama-bpe"
"""llama.cpp's name of Llama-3's split."""


def without_new_tokens(tokenizer: Tokenizer, base_size: int) -> Tokenizer:
    """A byte-level tokenizer with only its first `base_size` ids, and the merges that make them."""
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    vocabulary = {
        token: index for token, index in state["model"]["vocab"].items() if index < base_size
    }
    state["model"]["vocab"] = vocabulary
    state["model"]["merges"] = [
        pair
        for pair in state["model"]["merges"]
        if "".join(pair if isinstance(pair, list) else pair.split(" ")) in vocabulary
    ]
    state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] < base_size]
    return Tokenizer.from_str(json.dumps(state))


def splits_as_llama_3(tokenizer: Tokenizer) -> bool:
    """Whether words are split by Llama-3's expression."""
    found = json.loads(tokenizer.to_str())["pre_tokenizer"] or {}
    steps = found.get("pretokenizers", [found])
    return any(
        step.get("type") == "Split" and step["pattern"].get("Regex") == LLAMA_3_WORDS
        for step in steps
    )


def name_of_split(
    tokenizer: Tokenizer, base_size: int | None, ask: Callable[[Tokenizer], str | None]
) -> str | None:
    """llama.cpp's name of the split; None where it has none.

    Args:
        base_size: ids that the base had; None where nothing was added.
        ask: the converter's own answer for a tokenizer; None where it does not know it.
    """
    if known := ask(tokenizer):
        return known
    if base_size is not None and (known := ask(without_new_tokens(tokenizer, base_size))):
        return known
    return LLAMA_3 if splits_as_llama_3(tokenizer) else None
