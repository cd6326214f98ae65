"""All files of a checkpoint that are not weights: configuration, settings of generation, index, tokenizer."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.store.attempt import Shard
from tasks.checkpoints.llama_config import write_json
from tasks.model.checkpoint import INDEX, Layout

CHECKPOINT = "checkpoint"
VOLATILE = ("_name_or_path", "transformers_version")
"""Keys that say where and with what a configuration was written."""


@dataclass(frozen=True)
class SettingsWork:
    """What the shard that writes these files needs."""

    config: dict[str, Any]
    generation: dict[str, Any]
    index: dict[str, Any] | None
    tokenizer: str
    positions: int | None


def write_settings(work: SettingsWork, shard: Shard) -> dict[str, Any]:
    """Write configuration, index and tokenizer."""
    if work.index is not None:
        with shard.create(f"{CHECKPOINT}/{INDEX}") as path:
            write_json(path, work.index)
    generation = {key: value for key, value in work.generation.items() if key not in VOLATILE}
    publish_settings(shard, work.config, generation, Path(work.tokenizer), work.positions)
    return {}


def publish_settings(
    shard: Shard,
    config: Mapping[str, Any],
    generation: Mapping[str, Any],
    tokenizer: Path,
    positions: int | None = None,
) -> None:
    """Publish the folder `tokenizer` with both configurations; its longest text is `positions` where that is given."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for file in sorted(tokenizer.iterdir()):
            (folder / file.name).write_bytes(file.read_bytes())
        settings = folder / "tokenizer_config.json"
        if positions is not None and settings.is_file():
            write_json(settings, json.loads(settings.read_text(encoding="utf-8")) | {"model_max_length": positions})
        write_json(folder / "config.json", config)
        write_json(folder / "generation_config.json", generation)
        shard.publish(folder, CHECKPOINT)


def generation_of(
    layout: Layout, config: Mapping[str, Any], positions: int | None, new: range, unused: Sequence[int]
) -> dict[str, Any]:
    """The base's settings of generation; rows that no token has are never sampled.

    Args:
        config: of the new checkpoint.
        positions: it reads now; None as before.
        new: ids of its new tokens.
        unused: ids of its rows that no token has.
    """
    path = Path(layout.folder) / "generation_config.json"
    if path.is_file():
        generation: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    else:
        ids = ("bos_token_id", "eos_token_id")
        generation = {key: config[key] for key in ids if config.get(key) is not None}
    # A base of ours suppresses its own padding, into which new tokens may have come.
    suppressed = {*(generation.pop("suppress_tokens", None) or ()), *unused} - set(new)
    if suppressed:
        generation["suppress_tokens"] = sorted(suppressed)
    if positions is not None and generation.get("max_length") == layout.config.get("max_position_embeddings"):
        generation["max_length"] = positions
    return generation
