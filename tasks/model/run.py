"""Stage model: inputs `tokenizer` and `base`; writes `checkpoint/`, a Hugging Face checkpoint with its tokenizer.

Every weight file is a shard of its own, so a killed run keeps the files it finished.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.context import Context
from infra.stage import Outcome, StageError
from infra.store.attempt import Shard
from tasks.checkpoints.base import folder_of, open_base, require_checkpoint
from tasks.checkpoints.llama_config import llama_config, write_json
from tasks.checkpoints.tokenizer_files import read_settings, read_tokenizer, size_of
from tasks.model.checkpoint import INDEX, SINGLE, Layout, grow_file
from tasks.model.embeddings import Growth, NewRow, padded
from tasks.model.stage import Create, ModelParameters

CHECKPOINT = "checkpoint"
MASS_PARAMETERS = 100_000_000
"""Up to this size the share of probability that new rows take is measured."""
VOLATILE = ("_name_or_path", "transformers_version")


def run(context: Context) -> Outcome:
    """See the module docstring."""
    parameters: ModelParameters = context.parameters
    artifact = context.input("tokenizer")
    tokenizer = artifact.folder("tokenizer")
    if parameters.create is not None:
        return Outcome(statistics=_create(context, parameters, parameters.create, tokenizer))
    given = (
        context.input("base").folder(CHECKPOINT)
        if context.inputs.get("base")
        else folder_of(context.pins.get("base", ()))
    )
    base = require_checkpoint(open_base(given, context.scratch()))
    rows = json.loads(artifact.path("new_tokens.json").read_text(encoding="utf-8"))
    return Outcome(statistics=_grow(context, parameters, base, tokenizer, rows))


@dataclass(frozen=True)
class CreateWork:
    """What the shard that makes a new model needs."""

    config: dict[str, Any]
    seed: int
    tokenizer: str


def _create(context: Context, parameters: ModelParameters, create: Create, tokenizer: Path) -> dict[str, Any]:
    fast = read_tokenizer(tokenizer)
    settings = read_settings(tokenizer)
    size = size_of(fast)
    config = llama_config(
        **create.model_dump(exclude={"seed"}),
        vocab_size=padded(size, parameters.pad_to_multiple_of),
        bos_token_id=fast.token_to_id(settings["bos_token"]) if "bos_token" in settings else None,
        eos_token_id=fast.token_to_id(settings["eos_token"]) if "eos_token" in settings else None,
    )
    work = CreateWork(config, create.seed, str(tokenizer))
    counted = context.map(create_model, {SINGLE: work})[SINGLE]
    return {**counted, "tokenizer_size": size, "matrix_rows": config["vocab_size"], "rows_added": config["vocab_size"]}


def create_model(work: CreateWork, shard: Shard) -> dict[str, Any]:
    """Write a new model with its configuration and tokenizer."""
    from safetensors.torch import save_file

    from tasks.model.create import new_tensors

    tensors = new_tensors(work.config, work.seed)
    with shard.create(f"{CHECKPOINT}/{SINGLE}") as path:
        save_file(tensors, path, metadata={"format": "pt"})
    generation = {key: work.config[key] for key in ("bos_token_id", "eos_token_id") if work.config[key] is not None}
    _write_settings(shard, work.config, generation, Path(work.tokenizer))
    return {"parameters": sum(tensor.numel() for tensor in tensors.values())}


@dataclass(frozen=True)
class GrowWork:
    """What a shard that copies one weight file, or measures, needs."""

    layout: Layout
    growth: Growth


def _grow(
    context: Context, parameters: ModelParameters, base: Path, tokenizer: Path, tokens: list[dict[str, Any]]
) -> dict[str, Any]:
    layout = Layout.read(base)
    config = {
        key: value for key, value in json.loads((base / "config.json").read_text()).items() if key not in VOLATILE
    }
    old, new = read_tokenizer(base), read_tokenizer(tokenizer)
    _require_same_ids(old.get_vocab(), new.get_vocab())
    size = size_of(new)
    growth = Growth(
        rows=tuple(NewRow(token["id"], tuple(token["base_ids"])) for token in tokens),
        total=padded(max(size, layout.rows), parameters.pad_to_multiple_of),
        old=size_of(old),
        method=parameters.embeddings,
        seed=parameters.seed,
        spread=float(config.get("initializer_range", 0.02)),
    )
    if growth.old + len(growth.rows) != size:
        raise StageError(f"the tokenizer has {size:,} tokens, the base {growth.old:,} and {len(growth.rows):,} are new")
    work = GrowWork(layout, growth)
    written = context.map(grow_shard, {name: (name, work) for name in layout.files})
    weights = {tensor: name for name, result in written.items() for tensor in result["tensors"]}
    index = {
        "metadata": {"total_size": sum(result["bytes"] for result in written.values())},
        "weight_map": dict(sorted(weights.items())),
    }
    config |= {"vocab_size": growth.total}
    generation = base / "generation_config.json"
    rest = SettingsWork(
        config=config,
        generation=json.loads(generation.read_text()) if generation.is_file() else _generation(config),
        index=index if layout.files != (SINGLE,) else None,
        tokenizer=str(tokenizer),
    )
    context.map(write_settings, {"settings": rest})
    count = sum(result["parameters"] for result in written.values())
    mass = context.map(measure_mass, {"mass": work})["mass"] if count <= MASS_PARAMETERS else None
    return {
        "parameters": count,
        "tokenizer_size": size,
        "matrix_rows": growth.total,
        "rows_added": growth.total - layout.rows,
        "new_tokens": len(growth.rows),
        "padding_rows": growth.total - size,
        "tied": layout.tied,
        "mean_row_norm": {kind: value for result in written.values() for kind, value in result["norms"].items()},
        "probability_before_training": mass,
    }


def grow_shard(item: tuple[str, GrowWork], shard: Shard) -> dict[str, Any]:
    """Copy one weight file with grown embeddings."""
    name, work = item
    with shard.create(f"{CHECKPOINT}/{name}") as path:
        return grow_file(work.layout, name, work.growth, path)


def measure_mass(work: GrowWork, shard: Shard) -> dict[str, Any]:
    """See `tasks.model.mass`."""
    from tasks.model.mass import new_mass

    return {**new_mass(Path(work.layout.folder), work.growth)}


@dataclass(frozen=True)
class SettingsWork:
    """All files of a checkpoint that are not weights."""

    config: dict[str, Any]
    generation: dict[str, Any]
    index: dict[str, Any] | None
    tokenizer: str


def write_settings(work: SettingsWork, shard: Shard) -> dict[str, Any]:
    """Write configuration, index and tokenizer."""
    if work.index is not None:
        with shard.create(f"{CHECKPOINT}/{INDEX}") as path:
            write_json(path, work.index)
    generation = {key: value for key, value in work.generation.items() if key not in VOLATILE}
    _write_settings(shard, work.config, generation, Path(work.tokenizer))
    return {}


def _write_settings(shard: Shard, config: Mapping[str, Any], generation: Mapping[str, Any], tokenizer: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for file in sorted(tokenizer.iterdir()):
            (folder / file.name).write_bytes(file.read_bytes())
        write_json(folder / "config.json", config)
        write_json(folder / "generation_config.json", generation)
        shard.publish(folder, CHECKPOINT)


def _generation(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in ("bos_token_id", "eos_token_id") if config.get(key) is not None}


def _require_same_ids(old: Mapping[str, int], new: Mapping[str, int]) -> None:
    moved = sorted(token for token, index in old.items() if new.get(token) != index)
    if moved:
        raise StageError(
            f"{len(moved):,} of the base's {len(old):,} tokens have another id in the tokenizer (e.g. {moved[0]!r}); "
            "make the tokenizer from the same base (`tokenizer.base`), or `create` a new model for it"
        )
