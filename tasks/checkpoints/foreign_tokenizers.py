"""Tokenizers in their publishers' own files: a sentencepiece BPE `.model`, or Llama-3's tiktoken ranks."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.merges import merges_of
from tasks.checkpoints.tokenizer_files import LLAMA_3_WORDS, byte_level_style, byte_level_token, sentencepiece_style

LLAMA_3_RANKS = 128_000
LLAMA_3_SPECIALS = 256


def read_model_file(path: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """A fast tokenizer and its settings from a `tokenizer.model`, whichever of the two kinds it is."""
    with path.open("rb") as file:
        first = file.readline(200).split()
    if len(first) == 2 and first[1] == b"0":
        return read_ranks(path)
    return read_sentencepiece(path)


def read_sentencepiece(path: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """A sentencepiece BPE model as a fast tokenizer that segments exactly as sentencepiece does."""
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_file=str(path))
    ids = range(model.get_piece_size())
    vocabulary = {model.id_to_piece(index): index for index in ids}
    plain = [
        i for i in ids if not (model.is_byte(i) or model.is_control(i) or model.is_unknown(i) or model.is_unused(i))
    ]
    if sum(model.is_byte(index) for index in ids) != 256:
        raise StageError(
            f"{path}: no byte fallback (256 byte pieces); only sentencepiece BPE models with it are supported"
        )
    ordered = [model.id_to_piece(i) for i in sorted(plain, key=lambda i: (-model.get_score(i), i))]
    bos, eos, unknown = (model.id_to_piece(index) for index in (model.bos_id(), model.eos_id(), model.unk_id()))
    tokenizer = sentencepiece_style(vocabulary, merges_of(ordered, ordered), bos=bos, eos=eos, unknown=unknown)
    return tokenizer, {"bos_token": bos, "eos_token": eos, "unk_token": unknown}


def read_ranks(path: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """Llama-3's rank file (a line each: base64 of the bytes, rank) as a fast tokenizer with Llama-3's 256 specials.

    tiktoken looks a whole word up before it merges, and 588 of the 128,000 pieces (" việc") are reached in no other
    way, so `ignore_merges` is on.
    """
    lines = [line.split() for line in path.read_bytes().splitlines() if line]
    pieces = [base64.b64decode(content) for content, _ in lines]
    if [int(rank) for _, rank in lines] != list(range(LLAMA_3_RANKS)):
        raise StageError(
            f"{path}: {len(lines):,} ranks; only Llama-3's {LLAMA_3_RANKS:,} are known; give a tokenizer.json"
        )
    vocabulary = {byte_level_token(piece): rank for rank, piece in enumerate(pieces)}
    merges = [(byte_level_token(left), byte_level_token(right)) for left, right in merges_of(pieces, pieces)]
    named = {
        0: "<|begin_of_text|>", 1: "<|end_of_text|>",
        2: "<|reserved_special_token_0|>", 3: "<|reserved_special_token_1|>",
        4: "<|finetune_right_pad_id|>", 5: "<|reserved_special_token_2|>", 6: "<|start_header_id|>",
        7: "<|end_header_id|>", 8: "<|eom_id|>", 9: "<|eot_id|>", 10: "<|python_tag|>",
    }  # fmt: skip
    specials = [named.get(i, f"<|reserved_special_token_{i - 8}|>") for i in range(LLAMA_3_SPECIALS)]
    tokenizer = byte_level_style(vocabulary, merges, specials, bos=specials[0], words=LLAMA_3_WORDS, ignore_merges=True)
    return tokenizer, {"bos_token": specials[0], "eos_token": specials[1], "pad_token": specials[4]}
