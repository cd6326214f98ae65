"""Builds BPE tokenizers of the `tokenizers` library from a vocabulary and its merges.

Two styles: sentencepiece's, as in Llama-2, and byte-level, as in GPT-2 and Llama-3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

WHITESPACE = "\u2581"
"""sentencepiece's visible space."""

LLAMA_3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Llama-3's pre-tokenizer (meta-llama/llama3, tokenizer.py)."""


def byte_alphabet() -> list[str]:
    """The printable character that stands for each byte value in byte-level BPE (GPT-2's
    `bytes_to_unicode`).

    Printable Latin-1 characters stand for themselves, the other bytes for U+0100 onwards: "A" is
    "A", a space is "Ġ" (U+0120).
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    substitutes = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(substitutes)) for byte in range(256)]


_ALPHABET = byte_alphabet()
_BYTE_OF = {character: byte for byte, character in enumerate(_ALPHABET)}


def byte_level_token(content: bytes) -> str:
    """The vocabulary string of a byte sequence in a byte-level BPE."""
    return "".join(_ALPHABET[byte] for byte in content)


def byte_level_content(token: str) -> bytes | None:
    """The bytes of a byte-level vocabulary string; None for any other string, such as a special
    token.
    """
    try:
        return bytes(_BYTE_OF[character] for character in token)
    except KeyError:
        return None


def sentencepiece_style(
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    *,
    bos: str | None,
    eos: str | None,
    unknown: str,
    controls: Sequence[str] = (),
    prefix: bool = True,
    before: Sequence[Any] = (),
) -> Tokenizer:
    """A tokenizer that behaves as sentencepiece: dummy prefix, visible spaces, byte fallback, and
    BOS before each text.

    Args:
        controls: further special tokens of `vocabulary`.
        prefix: whether text gets a space in front (sentencepiece's dummy prefix).
        before: normalizers to run before spaces are made visible.
    """
    tokenizer = Tokenizer(
        models.BPE(
            dict(vocabulary), list(merges), unk_token=unknown, fuse_unk=True, byte_fallback=True
        )
    )
    spaces = [normalizers.Prepend(WHITESPACE)] if prefix else []
    tokenizer.normalizer = normalizers.Sequence(
        [*before, *spaces, normalizers.Replace(" ", WHITESPACE)]
    )
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(WHITESPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    specials = [token for token in (unknown, bos, eos, *controls) if token is not None]
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in dict.fromkeys(specials)]
    )
    if bos is not None:
        tokenizer.post_processor = _bos_in_front(bos, vocabulary[bos])
    return tokenizer


def byte_level_style(
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    specials: Sequence[str],
    *,
    bos: str,
    words: str,
    ignore_merges: bool = False,
) -> Tokenizer:
    """A byte-level tokenizer; BOS before each text.

    Args:
        specials: special tokens, with the ids after those of `vocabulary`.
        words: regular expression that splits text into words; merges stay within a word.
        ignore_merges: whether a word that is in the vocabulary becomes one token without merging.
    """
    tokenizer = Tokenizer(models.BPE(dict(vocabulary), list(merges), ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in specials]
    )
    tokenizer.post_processor = _bos_in_front(bos, len(vocabulary) + list(specials).index(bos))
    return tokenizer


def _bos_in_front(bos: str, bos_id: int) -> Any:
    return processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, bos_id)]
    )
