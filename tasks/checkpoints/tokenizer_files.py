"""Reads and writes folders with a `tokenizer.json`, its settings and its added tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from infra.stage import StageError
from tasks.checkpoints.text_files import read_json, refuse_pointer, write_json
from tasks.checkpoints.tokenizer_settings import (
    CHAT_TEMPLATE,
    SPECIAL_LISTS,
    SPECIAL_TOKENS,
    read_settings,
)

MOST_ROWS = 1 << 24


def size_of(tokenizer: Tokenizer) -> int:
    """One more than the largest id. (`get_vocab_size` counts entries, which is less when ids have
    gaps.)
    """
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def read_added_tokens(folder: Path) -> dict[int, AddedToken]:
    """The tokens by id that a folder without `tokenizer.json` adds to its `.model`.

    Read from `tokenizer_config.json` (`added_tokens_decoder`) and from the older
    `added_tokens.json`. The latter does not mark special tokens; a token is taken as special when
    another setting names it.
    """
    tokens: dict[int, AddedToken] = {}
    if (path := folder / "added_tokens.json").is_file():
        settings = read_settings(folder)
        special = {str(value) for key in SPECIAL_TOKENS if (value := settings.get(key))}
        for key in SPECIAL_LISTS:
            value = settings.get(key) or ()
            special |= set(value.values() if isinstance(value, dict) else value)
        for content, index in read_json(path).items():
            if not isinstance(index, int) or index < 0:
                raise StageError(f"{path}: the id of {content!r} is {index!r}; download it again")
            tokens[index] = AddedToken(content, special=content in special, normalized=False)
    if (path := folder / "tokenizer_config.json").is_file():
        decoder = read_json(path).get("added_tokens_decoder") or {}
        try:
            for index, token in decoder.items():
                flags = ("special", "lstrip", "rstrip", "single_word", "normalized")
                tokens[int(index)] = AddedToken(
                    token["content"], **{key: bool(token.get(key)) for key in flags}
                )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StageError(
                f"{path}: added_tokens_decoder does not map ids to tokens ({error!r}); download it "
                "again"
            ) from error
    return tokens


def with_added_tokens(tokenizer: Tokenizer, tokens: Mapping[int, AddedToken]) -> Tokenizer:
    """`tokenizer` plus those of `tokens` (by id) that it lacks; `StageError` when an id is taken by
    another token.
    """
    names = {index: token for token, index in tokenizer.get_vocab(with_added_tokens=True).items()}
    new = {
        index: token for index, token in sorted(tokens.items()) if names.get(index) != token.content
    }
    for index, token in new.items():
        if index in names:
            raise StageError(
                f"the added token {token.content!r} should have id {index:,}, but that is the id "
                f"of {names[index]!r}; tokenizer_config.json or added_tokens.json belongs to "
                "another tokenizer"
            )
    state = json.loads(tokenizer.to_str())
    state["model"]["vocab"] |= {token.content: index for index, token in new.items()}
    grown = Tokenizer.from_str(json.dumps(state))
    for token in new.values():
        (grown.add_special_tokens if token.special else grown.add_tokens)([token])
    return grown


def read_tokenizer(folder: Path) -> Tokenizer:
    """The `tokenizer.json` of a folder, with padding and truncation switched off.

    `tokenizers` gives added tokens the ids after the vocabulary, whatever ids the file states. When
    the file leaves a gap before them, they are entered into the vocabulary instead, so that they
    keep the ids that the weights were trained with.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise StageError(
            f"{folder} has no tokenizer.json; give a Hugging Face tokenizer or checkpoint folder"
        )
    refuse_pointer(path)
    state = _state_of(path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise StageError(
            f"{path} cannot be read as a tokenizer ({error}); download it again"
        ) from error
    added = {token["content"]: token["id"] for token in state.get("added_tokens", ())}
    if any(tokenizer.token_to_id(content) != index for content, index in added.items()):
        if not isinstance(state["model"].get("vocab"), dict):
            raise StageError(
                f"{path}: the ids of its added tokens leave gaps, which is supported for BPE "
                "vocabularies only; give a base with a BPE tokenizer"
            )
        state["model"]["vocab"] = {**added, **state["model"]["vocab"]}
        tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _state_of(path: Path) -> dict[str, Any]:
    """What the file states; {} where it is nonsense, of which the library says what is wrong.

    A token's id is a row of the embedding matrices, and libraries make room for all up to it.
    """
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
        vocabulary = state["model"]["vocab"]
        added = [(token["content"], token["id"]) for token in state.get("added_tokens") or ()]
        given = [*(vocabulary.items() if isinstance(vocabulary, dict) else ()), *added]
        token, index = max(given, key=lambda item: int(item[1]), default=("", 0))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return {}
    if index >= MOST_ROWS:
        raise StageError(
            f"{path}: token {token!r} has id {index:,}; ids up to {MOST_ROWS - 1:,} are read, each "
            "a row of the model's matrices. Is the file damaged? Download it again"
        )
    return state


def write_tokenizer(tokenizer: Tokenizer, folder: Path, settings: Mapping[str, Any]) -> None:
    """Write a folder that `AutoTokenizer.from_pretrained` loads with `tokenizer.json` unchanged.

    - Several chat templates go into `tokenizer_config.json`, which every transformers release
      reads, not into a subfolder.
    - A list of further special tokens is written as `additional_special_tokens`: transformers 4
      fails when `extra_special_tokens`, the name in transformers 5, is a list.
    - A special token that the tokenizer lacks is dropped, since loading would give it a new id.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = tokenizer.get_vocab(with_added_tokens=True)
    settings = {
        key: value for key, value in settings.items() if key not in SPECIAL_TOKENS or value in known
    }
    for key in SPECIAL_LISTS:
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
    special_tokens = {
        key: settings[key]
        for key in (*SPECIAL_TOKENS, "additional_special_tokens")
        if key in settings
    }
    write_json(folder / "special_tokens_map.json", special_tokens)
