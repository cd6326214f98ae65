"""Which family of BPE a base belongs to."""

from __future__ import annotations

import json

from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.tokenizer.byte_level import ByteLevel
from tasks.tokenizer.family import Family
from tasks.tokenizer.rules import SplittingRules
from tasks.tokenizer.sentencepiece_style import SentencePieceStyle


def family_of(tokenizer: Tokenizer, rules: SplittingRules | None = None) -> Family:
    """The base's family.

    `rules`: the splitting rules of a sentencepiece base; Llama-2's by default.

    Raises:
        StageError: the tokenizer is of neither family.
    """
    state = json.loads(tokenizer.to_str())
    model = state["model"]
    if model["type"] == "BPE" and model.get("byte_fallback"):
        return SentencePieceStyle(tokenizer, rules or SplittingRules())
    if model["type"] == "BPE" and '"ByteLevel"' in json.dumps(state["decoder"]):
        return ByteLevel(tokenizer)
    raise StageError(
        f"the base's tokenizer is {model['type']}, neither byte-level BPE nor BPE with byte "
        "fallback; use `expand: null`, or a base of one of these kinds"
    )
