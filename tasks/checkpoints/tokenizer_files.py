"""Fast tokenizers as folders: building the three parts of `tokenizer.json` we need, reading and writing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from infra.stage import StageError
from tasks.checkpoints.llama_config import write_json

WHITESPACE = "\u2581"
"""sentencepiece's visible space."""

LLAMA_3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Llama-3's pre-tokenizer (meta-llama/llama3, tokenizer.py)."""


def byte_alphabet() -> list[str]:
    """Byte value -> the printable character that byte-level BPE writes for it (GPT-2's `bytes_to_unicode`)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = iter(range(0x100, 0x200))
    return [chr(byte) if byte in set(printable) else chr(next(moved)) for byte in range(256)]


_ALPHABET = byte_alphabet()
_BYTE_OF = {character: byte for byte, character in enumerate(_ALPHABET)}


def byte_level_token(content: bytes) -> str:
    """The vocabulary string of a byte sequence in a byte-level BPE."""
    return "".join(_ALPHABET[byte] for byte in content)


def byte_level_content(token: str) -> bytes | None:
    """The bytes of a byte-level vocabulary string; None for a string that is not one (a special token)."""
    try:
        return bytes(_BYTE_OF[character] for character in token)
    except KeyError:
        return None


def sentencepiece_style(
    vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], *, bos: str, eos: str, unknown: str
) -> Tokenizer:
    """A fast tokenizer with sentencepiece's habits: dummy prefix, visible spaces, byte fallback, BOS in front."""
    tokenizer = Tokenizer(
        models.BPE(dict(vocabulary), list(merges), unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(WHITESPACE), normalizers.Replace(" ", WHITESPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(WHITESPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (unknown, bos, eos)])
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
    """A fast byte-level tokenizer that cuts text into `words` (a regular expression); BOS in front.

    `specials` continue the ids of `vocabulary`. `ignore_merges` takes a whole word that is in the vocabulary as it is.
    """
    tokenizer = Tokenizer(models.BPE(dict(vocabulary), list(merges), ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    tokenizer.post_processor = _bos_in_front(bos, len(vocabulary) + list(specials).index(bos))
    return tokenizer


def _bos_in_front(bos: str, bos_id: int) -> Any:
    return processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, bos_id)])


def size_of(tokenizer: Tokenizer) -> int:
    """One more than the largest id (`get_vocab_size` counts entries, which is less where ids have holes)."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


_CARRIED = ("model_max_length", "chat_template", "clean_up_tokenization_spaces", "padding_side", "model_input_names")
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


def read_settings(folder: Path) -> dict[str, Any]:
    """What a new tokenizer inherits beside `tokenizer.json`: special tokens, chat template, lengths."""
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (path := folder / name).is_file():
            found = json.loads(path.read_text())
            for key in (*_SPECIAL, *_CARRIED):
                if found.get(key) is not None:
                    value = found[key]
                    settings[key] = value["content"] if isinstance(value, dict) and "content" in value else value
    if (path := folder / "chat_template.jinja").is_file():
        settings["chat_template"] = path.read_text()
    return settings


def read_tokenizer(folder: Path) -> Tokenizer:
    """The `tokenizer.json` of a folder, without padding or truncation."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise StageError(f"{folder} has no tokenizer.json; give a Hugging Face tokenizer or checkpoint folder")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, folder: Path, settings: Mapping[str, Any]) -> None:
    """Save a folder that `AutoTokenizer.from_pretrained` loads, with the class that keeps `tokenizer.json` as it is."""
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **dict(settings))
    fast.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config = {
        key: value for key, value in config.items() if key not in {"name_or_path", "is_local", "local_files_only"}
    }
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    write_json(path, config)
