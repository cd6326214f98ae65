"""Fast tokenizers as folders: building the three parts of `tokenizer.json` we need, reading and
writing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
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

from infra.stage import StageError
from tasks.checkpoints.text_files import read_json, read_text, refuse_pointer, write_json

WHITESPACE = "\u2581"
"""sentencepiece's visible space."""

LLAMA_3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Llama-3's pre-tokenizer (meta-llama/llama3, tokenizer.py)."""


def byte_alphabet() -> list[str]:
    """Byte value -> the printable character that byte-level BPE writes for it (GPT-2's
    `bytes_to_unicode`).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = iter(range(0x100, 0x200))
    return [chr(byte) if byte in set(printable) else chr(next(moved)) for byte in range(256)]


_ALPHABET = byte_alphabet()
_BYTE_OF = {character: byte for byte, character in enumerate(_ALPHABET)}


def byte_level_token(content: bytes) -> str:
    """The vocabulary string of a byte sequence in a byte-level BPE."""
    return "".join(_ALPHABET[byte] for byte in content)


def byte_level_content(token: str) -> bytes | None:
    """The bytes of a byte-level vocabulary string; None for a string that is not one (a special
    token).
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
    """A fast tokenizer with sentencepiece's habits: dummy prefix, visible spaces, byte fallback,
    BOS in front.

    `controls`: further special tokens of `vocabulary`; `prefix`: whether a space is put in front of
    text; `before`: normalizers that run first.
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
    """A fast byte-level tokenizer that cuts text into `words` (a regular expression); BOS in front.

    `specials` continue the ids of `vocabulary`. `ignore_merges` takes a whole word that is in the
    vocabulary as it is.
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


def size_of(tokenizer: Tokenizer) -> int:
    """One more than the largest id (`get_vocab_size` counts entries, which is less where ids have
    holes).
    """
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


_SPECIAL = (
    "bos_token",
    "eos_token",
    "unk_token",
    "pad_token",
    "sep_token",
    "cls_token",
    "mask_token",
)
_SPECIAL_LISTS = ("additional_special_tokens", "extra_special_tokens")
_NOT_CARRIED = {
    "tokenizer_class",
    "auto_map",
    "backend",
    "processor_class",
    "name_or_path",
    "is_local",
    "local_files_only",
    "tokenizer_file",
    "vocab_file",
    "special_tokens_map_file",
    "added_tokens_decoder",
    "use_fast",
    "from_slow",
    "legacy",
    "sp_model_kwargs",
    "add_prefix_space",
    "transformers_version",
}
"""Of a base's `tokenizer_config.json`: where it lay, which class read it, and what `tokenizer.json`
says already.
"""

_SETTINGS_FILES = ("special_tokens_map.json", "tokenizer_config.json")
"""The second wins."""
CHAT_TEMPLATE = "chat_template.jinja"
CHAT_TEMPLATES = "additional_chat_templates"


def read_settings(folder: Path) -> dict[str, Any]:
    """What a new tokenizer inherits beside `tokenizer.json`: special tokens, chat templates,
    lengths, the like.

    Special tokens are given by their content; their flags (lstrip, normalized, single_word) stand
    in `tokenizer.json`. `chat_template` is a string or, where there are several, a list of {"name",
    "template"}.
    """
    settings: dict[str, Any] = {}
    for name in _SETTINGS_FILES:
        if (path := folder / name).is_file():
            for key, value in read_json(path).items():
                if value is None or key in _NOT_CARRIED:
                    continue
                found = _contents(value) if key in (*_SPECIAL, *_SPECIAL_LISTS) else value
                _require_kind(path, key, found)
                if (
                    found or key not in _SPECIAL
                ):  # the first Llamas' settings say "" for what their .model names
                    settings[key] = found
    templates = {
        path.stem: read_text(path) for path in sorted(folder.glob(f"{CHAT_TEMPLATES}/*.jinja"))
    }
    if (path := folder / CHAT_TEMPLATE).is_file():
        templates = {"default": read_text(path), **templates}
    if list(templates) == ["default"]:
        settings["chat_template"] = templates["default"]
    elif templates:
        settings["chat_template"] = [
            {"name": name, "template": text} for name, text in templates.items()
        ]
    return settings


def named_by_config(folder: Path, tokenizer: Tokenizer) -> dict[str, str]:
    """The bos and eos token of a checkpoint whose tokenizer is `tokenizer.json` alone, by the ids
    in its `config.json`.

    Nothing where settings of the tokenizer lie beside it: what these leave out is meant so.
    """
    config = folder / "config.json"
    if any((folder / name).is_file() for name in _SETTINGS_FILES) or not config.is_file():
        return {}
    found = {}
    for key in ("bos_token", "eos_token"):
        stated = read_json(config).get(f"{key}_id")
        first = stated[0] if isinstance(stated, list) and stated else stated
        if (
            type(first) is int
            and first >= 0
            and (token := tokenizer.id_to_token(first)) is not None
        ):
            found[key] = token
    return found


def _contents(value: Any) -> Any:
    """Special tokens by their content, whether they are written as strings or as objects."""
    if isinstance(value, list):
        return [_contents(item) for item in value]
    if isinstance(value, dict):
        return (
            value["content"]
            if "content" in value
            else {key: _contents(item) for key, item in value.items()}
        )
    return value


def _require_kind(path: Path, key: str, value: Any) -> None:
    """`StageError` where a special token or a chat template is not of the kind that transformers
    reads.
    """
    if key in _SPECIAL:
        fits, wanted = isinstance(value, str), "a token's text"
    elif key in _SPECIAL_LISTS:
        tokens = (
            value.values()
            if isinstance(value, dict)
            else value
            if isinstance(value, list)
            else [None]
        )
        fits, wanted = all(isinstance(token, str) for token in tokens), "a list of tokens' texts"
    elif key == "chat_template":
        named = value if isinstance(value, list) and value else [value]
        fits = isinstance(value, str) or all(
            isinstance(item, dict)
            and isinstance(item.get("name"), str)
            and isinstance(item.get("template"), str)
            for item in named
        )
        wanted = 'a template, or a list of {"name", "template"}'
    else:
        return
    if not fits:
        raise StageError(
            f"{path}: {key} is {json.dumps(value)[:80]}, not {wanted}; mend it or download it again"
        )


def read_added_tokens(folder: Path) -> dict[int, AddedToken]:
    """Id -> token that a folder without `tokenizer.json` adds to its `.model`.

    From `tokenizer_config.json` (`added_tokens_decoder`) and the older `added_tokens.json`, which
    does not say which are special: those are that another setting names.
    """
    found: dict[int, AddedToken] = {}
    if (path := folder / "added_tokens.json").is_file():
        settings = read_settings(folder)
        named = {str(value) for key in _SPECIAL if (value := settings.get(key))}
        for key in _SPECIAL_LISTS:
            value = settings.get(key) or ()
            named |= set(value.values() if isinstance(value, dict) else value)
        for content, index in read_json(path).items():
            if not isinstance(index, int) or index < 0:
                raise StageError(f"{path}: the id of {content!r} is {index!r}; download it again")
            found[index] = AddedToken(content, special=content in named, normalized=False)
    if (path := folder / "tokenizer_config.json").is_file():
        decoder = read_json(path).get("added_tokens_decoder") or {}
        try:
            for index, token in decoder.items():
                flags = ("special", "lstrip", "rstrip", "single_word", "normalized")
                found[int(index)] = AddedToken(
                    token["content"], **{key: bool(token.get(key)) for key in flags}
                )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StageError(
                f"{path}: added_tokens_decoder is not ids with tokens ({error!r}); download it "
                "again"
            ) from error
    return found


def with_added_tokens(tokenizer: Tokenizer, tokens: Mapping[int, AddedToken]) -> Tokenizer:
    """`tokenizer` with those of `tokens` that it lacks, at the ids stated; `StageError` where
    another has the id.
    """
    names = {index: token for token, index in tokenizer.get_vocab(with_added_tokens=True).items()}
    new = {
        index: token for index, token in sorted(tokens.items()) if names.get(index) != token.content
    }
    if taken := [(token.content, index) for index, token in new.items() if index in names]:
        raise StageError(
            f"the added token {taken[0][0]!r} is stated to have id {taken[0][1]:,}, which is "
            f"{names[taken[0][1]]!r}; tokenizer_config.json or added_tokens.json is of another "
            "tokenizer"
        )
    state = json.loads(tokenizer.to_str())
    state["model"]["vocab"] |= {token.content: index for index, token in new.items()}
    grown = Tokenizer.from_str(json.dumps(state))
    for token in new.values():
        (grown.add_special_tokens if token.special else grown.add_tokens)([token])
    return grown


def read_tokenizer(folder: Path) -> Tokenizer:
    """The `tokenizer.json` of a folder, without padding or truncation.

    `tokenizers` numbers added tokens on from the vocabulary's end, whatever the file says; where
    the file leaves a hole before them, they are entered into the vocabulary at the ids that the
    file says, which the weights belong to.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise StageError(
            f"{folder} has no tokenizer.json; give a Hugging Face tokenizer or checkpoint folder"
        )
    refuse_pointer(path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise StageError(
            f"{path} is no tokenizer that can be read ({error}); download it again"
        ) from error
    state = json.loads(path.read_text(encoding="utf-8"))
    added = {token["content"]: token["id"] for token in state.get("added_tokens", ())}
    if any(tokenizer.token_to_id(content) != index for content, index in added.items()):
        if not isinstance(state["model"].get("vocab"), dict):
            raise StageError(
                f"{path}: its added tokens have ids that leave holes, which only BPE vocabularies "
                "may"
            )
        state["model"]["vocab"] = {**added, **state["model"]["vocab"]}
        tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, folder: Path, settings: Mapping[str, Any]) -> None:
    """Save a folder that `AutoTokenizer.from_pretrained` loads, with the class that keeps
    `tokenizer.json` as it is.

    Files only, no folders in it: several chat templates stand in `tokenizer_config.json`, which
    every transformers reads. So is a list of further special tokens under its old name:
    transformers 4 ends with an error where `extra_special_tokens`, as 5 calls it, is a list. A
    special token that the tokenizer lacks is not carried, since loading would give it an id of its
    own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = tokenizer.get_vocab(with_added_tokens=True)
    settings = {
        key: value for key, value in settings.items() if key not in _SPECIAL or value in known
    }
    for key in _SPECIAL_LISTS:
        if isinstance(value := settings.get(key), list):
            settings[key] = [token for token in value if token in known]
    if isinstance(extra := settings.get("extra_special_tokens"), list):
        del settings["extra_special_tokens"]
        further = settings.get("additional_special_tokens", ())
        settings["additional_special_tokens"] = list(dict.fromkeys([*further, *extra]))
    tokenizer.save(str(folder / "tokenizer.json"))
    if isinstance(template := settings.get("chat_template"), str):
        (folder / CHAT_TEMPLATE).write_text(template, encoding="utf-8")
        del settings["chat_template"]
    write_json(
        folder / "tokenizer_config.json", {**settings, "tokenizer_class": "PreTrainedTokenizerFast"}
    )
    names = {
        key: settings[key] for key in (*_SPECIAL, "additional_special_tokens") if key in settings
    }
    write_json(folder / "special_tokens_map.json", names)
