"""All files of a checkpoint that are not weights: configuration, settings of generation, index,
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
    """Publish the folder `tokenizer` with both configurations; its longest text is `positions`
    where that is given.
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
    """A base's settings of generation; None where it has none. `StageError` where the file is
    damaged.
    """
    path = folder / "generation_config.json"
    if not path.is_file():
        return None
    found = read_json(path)
    suppressed = found.get("suppress_tokens")
    if suppressed is not None and not (
        isinstance(suppressed, list) and all(type(id) is int for id in suppressed)
    ):
        raise StageError(
            f"{path}: suppress_tokens is {suppressed!r}, not a list of ids; mend it or download it "
            "again"
        )
    return found


def generation_of(
    before: Mapping[str, Any] | None,
    layout: Layout,
    config: Mapping[str, Any],
    positions: int | None,
    new: range,
    unused: Sequence[int],
) -> dict[str, Any]:
    """The base's settings of generation; rows that no token has are never sampled.

    Args:
        before: what `read_generation` found.
        config: of the new checkpoint.
        positions: it reads now; None as before.
        new: ids of its new tokens.
        unused: ids of its rows that no token has.
    """
    if before is None:
        before = {
            key: config[key]
            for key in ("bos_token_id", "eos_token_id")
            if config.get(key) is not None
        }
    generation = dict(before)
    # A base of ours suppresses its own padding, into which new tokens may have come.
    suppressed = {*(generation.pop("suppress_tokens", None) or ()), *unused} - set(new)
    if suppressed:
        generation["suppress_tokens"] = sorted(suppressed)
    if positions is not None and generation.get("max_length") == layout.config.get(
        "max_position_embeddings"
    ):
        generation["max_length"] = positions
    return generation
