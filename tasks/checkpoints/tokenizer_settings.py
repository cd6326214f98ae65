"""Reads the settings that accompany a `tokenizer.json`: special tokens, chat templates, lengths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.text_files import read_json, read_text

SPECIAL_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "pad_token",
    "sep_token",
    "cls_token",
    "mask_token",
)
SPECIAL_LISTS = ("additional_special_tokens", "extra_special_tokens")
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
"""Keys of `tokenizer_config.json` about where it was stored or which class read it, and keys that
repeat `tokenizer.json`.
"""

_SETTINGS_FILES = ("special_tokens_map.json", "tokenizer_config.json")
"""In the order they are read: the second overrides the first."""
CHAT_TEMPLATE = "chat_template.jinja"
CHAT_TEMPLATES = "additional_chat_templates"


def read_settings(folder: Path) -> dict[str, Any]:
    """Settings that a new tokenizer inherits in addition to `tokenizer.json`: special tokens, chat
    templates, lengths and the like.

    Special tokens are given by their content; their flags (lstrip, normalized, single_word) are in
    `tokenizer.json`. `chat_template` is a string, or a list of {"name", "template"} if there are
    several.
    """
    settings: dict[str, Any] = {}
    for name in _SETTINGS_FILES:
        if (path := folder / name).is_file():
            for key, value in read_json(path).items():
                if value is None or key in _NOT_CARRIED:
                    continue
                if key in (*SPECIAL_TOKENS, *SPECIAL_LISTS):
                    value = _contents(value)
                _require_kind(path, key, value)
                # The first Llamas' settings have "" for tokens that their .model names.
                if value or key not in SPECIAL_TOKENS:
                    settings[key] = value
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
    """BOS and EOS token of a checkpoint that has `tokenizer.json` but no tokenizer settings, from
    the ids in its `config.json`.

    Empty if the folder has tokenizer settings: tokens that these do not name are left out on
    purpose.
    """
    config = folder / "config.json"
    if any((folder / name).is_file() for name in _SETTINGS_FILES) or not config.is_file():
        return {}
    named = {}
    for key in ("bos_token", "eos_token"):
        stated = read_json(config).get(f"{key}_id")
        token_id = stated[0] if isinstance(stated, list) and stated else stated
        if type(token_id) is int and token_id >= 0:
            token = tokenizer.id_to_token(token_id)
            if token is not None:
                named[key] = token
    return named


def _contents(value: Any) -> Any:
    """Replace special tokens that are written as objects by their content."""
    if isinstance(value, list):
        return [_contents(item) for item in value]
    if isinstance(value, dict):
        if "content" in value:
            return value["content"]
        return {key: _contents(item) for key, item in value.items()}
    return value


def _require_kind(path: Path, key: str, value: Any) -> None:
    """`StageError` if a special token or a chat template has a type that transformers does not
    read.
    """
    if key in SPECIAL_TOKENS:
        valid, expected = isinstance(value, str), "a string"
    elif key in SPECIAL_LISTS:
        valid, expected = _are_strings(value), "a list of strings"
    elif key == "chat_template":
        valid = isinstance(value, str) or _are_named_templates(value)
        expected = 'a template or a list of {"name", "template"}'
    else:
        return
    if not valid:
        raise StageError(
            f"{path}: {key} is {json.dumps(value)[:80]}, not {expected}; correct it or download it "
            "again"
        )


def _are_strings(value: Any) -> bool:
    tokens = value.values() if isinstance(value, dict) else value
    return isinstance(value, (dict, list)) and all(isinstance(token, str) for token in tokens)


def _are_named_templates(value: Any) -> bool:
    templates = value if isinstance(value, list) else [value]
    return bool(templates) and all(
        isinstance(item, dict)
        and isinstance(item.get("name"), str)
        and isinstance(item.get("template"), str)
        for item in templates
    )
