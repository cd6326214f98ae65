"""Writes the files of a checkpoint other than weights: configuration, generation settings, index,
tokenizer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.stage import StageError
from infra.store.attempt import Shard
from tasks.checkpoints.text_files import read_json, write_json
from tasks.checkpoints.weights import INDEX
from tasks.model.checkpoint import Checkpoint

CHECKPOINT = "checkpoint"
VOLATILE = ("_name_or_path", "transformers_version")
"""Keys that say where a configuration was written, and by which release."""


@dataclass(frozen=True)
class SettingsWork:
    """Input of the shard that writes these files; see `publish_settings`."""

    config: dict[str, Any]
    generation: dict[str, Any]
    index: dict[str, Any] | None
    tokenizer: Path
    positions: int | None


def write_settings(work: SettingsWork, shard: Shard) -> dict[str, Any]:
    """Write configuration, generation settings, index and tokenizer."""
    if work.index is not None:
        with shard.create(f"{CHECKPOINT}/{INDEX}") as path:
            write_json(path, work.index)
    generation = {key: value for key, value in work.generation.items() if key not in VOLATILE}
    publish_settings(shard, work.config, generation, work.tokenizer, work.positions)
    return {}


def publish_settings(
    shard: Shard,
    config: Mapping[str, Any],
    generation: Mapping[str, Any],
    tokenizer: Path,
    positions: int | None = None,
) -> None:
    """Publish the files of folder `tokenizer`, config.json and generation_config.json.

    `positions`: the tokenizer's `model_max_length`; None leaves it unchanged.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for file in sorted(tokenizer.iterdir()):
            (folder / file.name).write_bytes(file.read_bytes())
        settings = folder / "tokenizer_config.json"
        if positions is not None and settings.is_file():
            write_json(settings, read_json(settings) | {"model_max_length": positions})
        write_json(folder / "config.json", config)
        write_json(folder / "generation_config.json", generation)
        shard.publish(folder, CHECKPOINT)


def read_generation(folder: Path) -> dict[str, Any] | None:
    """A base's generation settings; None if it has none. `StageError` if the file is damaged."""
    path = folder / "generation_config.json"
    if not path.is_file():
        return None
    settings = read_json(path)
    suppressed = settings.get("suppress_tokens")
    if suppressed is not None and not (
        isinstance(suppressed, list) and all(type(token_id) is int for token_id in suppressed)
    ):
        raise StageError(
            f"{path}: suppress_tokens is {suppressed!r}, not a list of ids; correct it or download "
            "it again"
        )
    return settings


def generation_of(
    settings_of_base: Mapping[str, Any] | None,
    base: Checkpoint,
    config: Mapping[str, Any],
    positions: int | None,
    new: range,
    unused: Sequence[int],
) -> dict[str, Any]:
    """The new checkpoint's generation settings: the base's, with unused rows never sampled.

    Args:
        settings_of_base: from `read_generation`.
        config: of the new checkpoint.
        positions: that the new checkpoint reads; None: as many as the base.
        new: ids of the new tokens.
        unused: ids of rows that belong to no token.
    """
    if settings_of_base is None:
        settings_of_base = {
            key: config[key]
            for key in ("bos_token_id", "eos_token_id")
            if config.get(key) is not None
        }
    generation = dict(settings_of_base)
    # A base made by this stage suppresses its padding rows, which may belong to new tokens now.
    suppressed = {*(generation.pop("suppress_tokens", None) or ()), *unused} - set(new)
    if suppressed:
        generation["suppress_tokens"] = sorted(suppressed)
    positions_of_base = base.config.get("max_position_embeddings")
    if positions is not None and generation.get("max_length") == positions_of_base:
        generation["max_length"] = positions
    return generation
