"""What the folder of an encoder says of its use: pooling, length, case. Reads no weights.

Folders of sentence-transformers list their modules in `modules.json`: a transformer, one pooling,
and perhaps a normalisation. Other modules (Dense, ...) are refused by name. A folder without it is
used with mean pooling, as sentence-transformers does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from infra.io.foreign import foreign_json
from infra.stage import StageError
from tasks.checkpoints.text_files import read_json
from tasks.checkpoints.weights import read_tensors
from tasks.embeddings.stage import EmbeddingsParameters

Pooling = Literal["mean", "cls", "max", "lasttoken"]
USUAL_TOKENS = 512
"""Tokens read at once where nothing is stated: attention costs their square."""

_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "esm")
"""Kinds of models whose first position has the number `pad_token_id + 1`."""

_UNSTATED = 10**9


@dataclass(frozen=True)
class EncoderFolder:
    """How to use the model in folder `inside` of `root`: `max_tokens` at once; `lower`: text in
    lower case.
    """

    root: Path
    inside: str
    pooling: Pooling
    max_tokens: int
    lower: bool

    @property
    def folder(self) -> Path:
        """Where the model itself is."""
        return self.root / self.inside

    @classmethod
    def read(cls, folder: Path, parameters: EmbeddingsParameters) -> EncoderFolder:
        """`StageError` for what is no encoder of safetensors that runs without code of its own."""
        modules = _modules(folder)
        inside = modules.get("Transformer", "")
        inner = folder / inside
        if not (inner / "config.json").is_file():
            raise StageError(
                f"{folder} has no config.json, so it is no Hugging Face encoder; name the folder "
                "of one, or write embeddings: {model: base}"
            )
        config = read_json(inner / "config.json")
        if config.get("auto_map"):
            raise StageError(
                f"{inner / 'config.json'} names code of the repository's own (auto_map), which is "
                "not run; name a model that transformers knows by itself"
            )
        read_tensors(inner)
        pooling = _pooling(folder, modules.get("Pooling"), parameters.prefix)
        settings = _settings(inner, folder)
        tokens = _max_tokens(inner, config, settings.get("max_seq_length"), parameters.max_tokens)
        return cls(folder, inside, pooling, tokens, bool(settings.get("do_lower_case")))


def _modules(folder: Path) -> dict[str, str]:
    """Kind of module -> its subfolder; a lone transformer without `modules.json`."""
    file = folder / "modules.json"
    if not file.is_file():
        return {"Transformer": ""}
    try:
        listed = foreign_json(file.read_text(encoding="utf-8"))
        found = {str(one["type"]).rpartition(".")[2]: str(one["path"]) for one in listed}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise StageError(
            f"{file} is no list of modules with type and path ({error!r}); get the model again"
        ) from error
    if others := sorted(set(found) - {"Transformer", "Pooling", "Normalize"}):
        raise StageError(
            f"{file} names the module {others[0]}, which is not supported; only a transformer, a "
            "pooling and a normalisation are. Name another model"
        )
    if "Transformer" not in found:
        raise StageError(f"{file} names no transformer; name a model that has one")
    if outside := [path for path in found.values() if Path(path).name != path]:
        raise StageError(f"{file} names {outside[0]!r}, no folder beside it; get the model again")
    return found


def _settings(*folders: Path) -> dict[str, Any]:
    for folder in folders:
        if (folder / "sentence_bert_config.json").is_file():
            return read_json(folder / "sentence_bert_config.json")
    return {}


def _pooling(folder: Path, module: str | None, prefix: str) -> Pooling:
    if module is None:
        return "mean"
    file = folder / module / "config.json"
    if not file.is_file():
        raise StageError(f"{file}, which modules.json names, is missing; get the model again")
    config = read_json(file)
    if isinstance(config.get("pooling_mode"), str):
        stated = [config["pooling_mode"]]
    else:
        stated = [
            name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
            for name, value in config.items()
            if name.startswith("pooling_mode_") and value is True
        ]
    if len(stated) != 1 or stated[0] not in get_args(Pooling):
        raise StageError(
            f"{file} states the pooling {' and '.join(stated) or 'none'}; one of "
            f"{', '.join(get_args(Pooling))} is supported. Name another model"
        )
    if prefix and config.get("include_prompt") is False:
        raise StageError(
            f"{file} leaves a prompt out of the pooling (include_prompt: false), which is not "
            "supported; remove embeddings.prefix, or name another model"
        )
    pooling: Pooling = stated[0]
    return pooling


def _max_tokens(folder: Path, config: dict[str, Any], usual: Any, asked: int | None) -> int:
    """The tokens to read at once, at most the model's positions."""
    positions = _positions(folder, config)
    for what, tokens in (("embeddings.max_tokens", asked), ("sentence_bert_config.json", usual)):
        if isinstance(tokens, int):
            if positions is not None and tokens > positions:
                raise StageError(
                    f"{what} is {tokens:,} tokens, but the model in {folder} has {positions:,} "
                    f"positions; set embeddings.max_tokens to {positions} or less"
                )
            return tokens
    return min(USUAL_TOKENS, positions or USUAL_TOKENS)


def _positions(folder: Path, config: dict[str, Any]) -> int | None:
    """Tokens that the model has positions for; None where that is not limited."""
    limits = []
    if isinstance(stated := config.get("max_position_embeddings"), int) and stated > 0:
        before = 0
        if config.get("model_type") in _OFFSET_POSITIONS:
            before = int(config.get("pad_token_id") or 0) + 1
        limits.append(stated - before)
    file = folder / "tokenizer_config.json"
    length = read_json(file).get("model_max_length") if file.is_file() else None
    if isinstance(length, int) and 0 < length < _UNSTATED:
        limits.append(length)
    return min(limits, default=None)
