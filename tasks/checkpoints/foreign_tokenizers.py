"""Reads `tokenizer.model` files as fast tokenizers: sentencepiece BPE and Llama-3's tiktoken."""

from __future__ import annotations

import base64
from collections import Counter
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers

from infra.stage import StageError
from tasks.checkpoints.fast_tokenizers import (
    LLAMA_3_WORDS,
    byte_level_style,
    byte_level_token,
    sentencepiece_style,
)
from tasks.checkpoints.merges import merges_of
from tasks.checkpoints.ranks import LLAMA_3_RANKS, LLAMA_3_SPECIALS, is_rank_file
from tasks.checkpoints.sentencepiece_model import (
    BPE,
    BYTE,
    CONTROL,
    NORMAL,
    USER_DEFINED,
    NormalizerSpec,
    read_model,
)


def read_model_file(path: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """A fast tokenizer and its settings from a `tokenizer.model` of either kind."""
    return read_ranks(path) if is_rank_file(path) else read_sentencepiece(path)


def read_sentencepiece(path: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """A sentencepiece BPE model as a fast tokenizer that segments text exactly as sentencepiece.

    `StageError` for models that such a tokenizer cannot reproduce.
    """
    model = read_model(path)
    kinds = Counter(piece.kind for piece in model.pieces)
    spec, normalizer = model.trainer, model.normalizer
    obstacles = [
        (spec.model_type != BPE, "not a BPE model (trainer_spec.model_type)"),
        (kinds[BYTE] != 256, f"no byte fallback ({kinds[BYTE]} of 256 byte pieces)"),
        (
            kinds[USER_DEFINED] > 0,
            f"{kinds[USER_DEFINED]} user-defined pieces, which are matched before merging",
        ),
        (
            spec.treat_whitespace_as_suffix,
            "spaces at the end of pieces (trainer_spec.treat_whitespace_as_suffix)",
        ),
        (
            not normalizer.escape_whitespaces,
            "spaces that are not escaped (normalizer_spec.escape_whitespaces: false)",
        ),
    ]
    if reasons := [text for applies, text in obstacles if applies]:
        raise StageError(
            f"{path} cannot be read: {'; '.join(reasons)}. Only sentencepiece BPE models with byte "
            "fallback are supported; give a folder with a tokenizer.json instead"
        )
    vocabulary = {piece.text: index for index, piece in enumerate(model.pieces)}
    by_priority = sorted(
        (-piece.score, index) for index, piece in enumerate(model.pieces) if piece.kind == NORMAL
    )
    ordered = [model.pieces[index].text for _, index in by_priority]
    bos, eos, unknown = _named_pieces(path)
    tokenizer = sentencepiece_style(
        vocabulary,
        merges_of(ordered, ordered),
        bos=bos,
        eos=eos,
        unknown=unknown,
        controls=[piece.text for piece in model.pieces if piece.kind == CONTROL],
        prefix=normalizer.add_dummy_prefix,
        before=_normalizers(normalizer),
    )
    named = {"bos_token": bos, "eos_token": eos, "unk_token": unknown}
    return tokenizer, {key: value for key, value in named.items() if value is not None}


def _named_pieces(path: Path) -> tuple[str | None, str | None, str]:
    """BOS, EOS and the unknown piece; BOS and EOS are None if the model lacks them."""
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_file=str(path))
    bos, eos = (
        model.id_to_piece(index) if index >= 0 else None
        for index in (model.bos_id(), model.eos_id())
    )
    return bos, eos, model.id_to_piece(model.unk_id())


def _normalizers(spec: NormalizerSpec) -> list[Any]:
    """sentencepiece's normalisation before it adds the dummy prefix and makes spaces visible.

    `tokenizers` applies a character map to whole grapheme clusters, sentencepiece to the longest
    prefix in the map. With such a base (Llama's have no map), text with combining marks may be
    segmented differently.
    """
    steps: list[Any] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Replace(Regex("^ +| +$"), ""),
        ]
    return steps


def read_ranks(path: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """Llama-3's rank file as a fast tokenizer with Llama-3's 256 special tokens.

    Each line has the base64 of a piece's bytes and its rank. tiktoken looks up a whole word before
    it merges, and 588 of the 128,000 pieces (" việc") cannot be reached by merges, so
    `ignore_merges` is on.
    """
    lines = [line.split() for line in path.read_bytes().splitlines() if line]
    try:
        pieces = [base64.b64decode(content, validate=True) for content, _ in lines]
        ranks = [int(rank) for _, rank in lines]
    except ValueError as error:
        raise StageError(
            f"{path}: not all of its {len(lines):,} lines are a piece and its rank ({error}); "
            "download it again"
        ) from error
    if ranks != list(range(LLAMA_3_RANKS)):
        raise StageError(
            f"{path} has {len(lines):,} ranks; only Llama-3's file with {LLAMA_3_RANKS:,} is "
            "supported. If it is Llama-3's, download it again; if not, give a folder with a "
            "tokenizer.json"
        )
    vocabulary = {byte_level_token(piece): rank for rank, piece in enumerate(pieces)}
    merges = [
        (byte_level_token(left), byte_level_token(right))
        for left, right in merges_of(pieces, pieces)
    ]
    named = {
        0: "<|begin_of_text|>", 1: "<|end_of_text|>",
        2: "<|reserved_special_token_0|>", 3: "<|reserved_special_token_1|>",
        4: "<|finetune_right_pad_id|>", 5: "<|reserved_special_token_2|>", 6: "<|start_header_id|>",
        7: "<|end_header_id|>", 8: "<|eom_id|>", 9: "<|eot_id|>", 10: "<|python_tag|>",
    }  # fmt: skip
    specials = [
        named.get(i, f"<|reserved_special_token_{i - 8}|>") for i in range(LLAMA_3_SPECIALS)
    ]
    tokenizer = byte_level_style(
        vocabulary, merges, specials, bos=specials[0], words=LLAMA_3_WORDS, ignore_merges=True
    )
    return tokenizer, {"bos_token": specials[0], "eos_token": specials[1], "pad_token": specials[4]}
