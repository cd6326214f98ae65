"""A sentencepiece `.model` for a sentencepiece-style tokenizer that has none.

llama.cpp's converter gives every piece the same score where the file is missing, and fewer pieces
than a padded matrix has rows; llama.cpp then segments wrongly or does not load the model.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from typing import Any

from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.sentencepiece_model import (
    BPE,
    BYTE,
    BYTES,
    CONTROL,
    FIXED32,
    NORMAL,
    NORMALIZER,
    PIECES,
    TRAINER,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    VARINT,
    VOCABULARY_SIZE,
    encoded_field,
)
from tasks.checkpoints.tokenizer_files import size_of

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_TYPE, _BYTE_FALLBACK, _UNK_ID, _BOS_ID, _EOS_ID, _PAD_ID = 3, 35, 40, 41, 42, 43
"""Field numbers of TrainerSpec."""
_NO_ID = 2**64 - 1
"""-1 as a varint."""


def is_sentencepiece_style(tokenizer: Tokenizer) -> bool:
    """Whether it is a BPE that falls back to byte tokens."""
    model = json.loads(tokenizer.to_str())["model"]
    return bool(model.get("type") == "BPE" and model.get("byte_fallback"))


def model_of(tokenizer: Tokenizer, settings: Mapping[str, Any]) -> bytes:
    """The `.model` with the same pieces and the same segmentation.

    A piece scores by its first merge, and characters score last. Both tokenizers then join the same
    neighbours, provided every way of making a piece is among the merges, as in those that come from
    scores.

    Args:
        settings: of `tokenizer_config.json`; its special tokens become control pieces.

    Raises:
        StageError: they segment the tokenizer's own pieces differently.
    """
    state = json.loads(tokenizer.to_str())
    names = {index: token for token, index in tokenizer.get_vocab(with_added_tokens=True).items()}
    added = tokenizer.get_added_tokens_decoder()
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(state["model"]["merges"]):
        ranks.setdefault("".join(pair if isinstance(pair, list) else pair.split(" ")), rank)
    unknown = state["model"].get("unk_token")
    size = size_of(tokenizer)
    pieces = b""
    for index in range(size):
        name = names.get(index, f"<unused_{index}>")
        if index not in names:
            kind = UNUSED
        elif name == unknown:
            kind = UNKNOWN
        elif index in added:
            kind = CONTROL if added[index].special else USER_DEFINED
        else:
            kind = BYTE if _BYTE.fullmatch(name) else NORMAL
        score = -float(ranks.get(name, len(ranks) + index)) if kind == NORMAL else 0.0
        body = encoded_field(1, BYTES, name.encode())
        body += encoded_field(2, FIXED32, struct.pack("<f", score))
        pieces += encoded_field(PIECES, BYTES, body + encoded_field(3, VARINT, kind))
    ids = {
        key: tokenizer.token_to_id(str(settings.get(key, ""))) for key in ("bos_token", "eos_token")
    }
    trainer = b"".join(
        encoded_field(number, VARINT, value)
        for number, value in (
            (_TYPE, BPE),
            (VOCABULARY_SIZE, size),
            (_BYTE_FALLBACK, 1),
            (_UNK_ID, _or_none(tokenizer.token_to_id(unknown) if unknown else None)),
            (_BOS_ID, _or_none(ids["bos_token"])),
            (_EOS_ID, _or_none(ids["eos_token"])),
            (_PAD_ID, _NO_ID),
        )
    )
    normalizer = encoded_field(1, BYTES, b"identity")
    for number, value in ((3, _adds_prefix(state)), (4, False), (5, True)):
        normalizer += encoded_field(number, VARINT, int(value))
    blob = (
        pieces
        + encoded_field(TRAINER, BYTES, trainer)
        + encoded_field(NORMALIZER, BYTES, normalizer)
    )
    _require_equal(blob, tokenizer, [name for i, name in names.items() if i not in added])
    return blob


def _or_none(index: int | None) -> int:
    return _NO_ID if index is None else index


def _adds_prefix(state: Mapping[str, Any]) -> bool:
    """Whether a space is put before the text."""
    return '"Prepend"' in json.dumps(state["normalizer"]) or any(
        f'"prepend_scheme": "{scheme}"' in json.dumps(state["pre_tokenizer"])
        for scheme in ("always", "first")
    )


def _require_equal(blob: bytes, tokenizer: Tokenizer, names: list[str]) -> None:
    texts = [name.replace("\u2581", " ") for name in names]
    texts += [a + b for a, b in zip(texts[::2], texts[1::2], strict=False)]
    theirs = SentencePieceProcessor(model_proto=blob).encode(texts)
    ours = [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
    for text, expected, found in zip(texts, ours, theirs, strict=True):
        if expected != found:
            raise StageError(
                f"no sentencepiece model segments as this tokenizer does: {text!r} is {expected} "
                f"here and {found} there; llama.cpp cannot run it, transformers and vLLM can"
            )
