"""Stage model: inputs `tokenizer` and `base`; writes `checkpoint/`, a Hugging Face checkpoint with its tokenizer.

The base's surgery is a plan made from headers: which tensor of which file goes where, copied or grown. Every weight
file of it is a shard of its own, so a killed run keeps the files it finished.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.context import Context
from infra.stage import Outcome, StageError
from infra.store.attempt import Shard
from tasks.checkpoints.base import folder_of, open_base
from tasks.checkpoints.llama_config import llama_config, write_json
from tasks.checkpoints.tokenizer_files import read_settings, read_tokenizer, size_of
from tasks.model.checkpoint import INDEX, SINGLE, Layout, require_agreement
from tasks.model.embeddings import Growth, NewRow, grow, padded, require_fit
from tasks.model.importance import rank_layers
from tasks.model.layers import choose, config_of
from tasks.model.mass import is_measurable, new_mass
from tasks.model.plan import PlannedFile, index_of, plan
from tasks.model.rope import extended
from tasks.model.safetensors_file import copy_of, write_file
from tasks.model.stage import Create, Embeddings, LayerChoice, Measure, ModelParameters
from tasks.model.texts import sample_texts

CHECKPOINT = "checkpoint"
CANDIDATES = 64
"""Training documents offered for measuring layers; `tasks.model.importance` reads the first of them with text."""
MEASURED_DIGITS = 6
"""Digits of a layer's importance that count: sums of floating-point numbers differ in the last on other processors."""
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
    base = open_base(given, context.scratch())
    rows = json.loads(artifact.path("new_tokens.json").read_text(encoding="utf-8"))
    return Outcome(statistics=_operate(context, parameters, base, tokenizer, rows))


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


def _operate(
    context: Context, parameters: ModelParameters, base: Path, tokenizer: Path, tokens: list[dict[str, Any]]
) -> dict[str, Any]:
    layout = Layout.read(base)
    vocabulary = read_tokenizer(tokenizer).get_vocab()
    growth = _growth(parameters, layout, read_tokenizer(base).get_vocab(), vocabulary, tokens)
    measured: dict[str, Any] = {}

    def importance(choice: LayerChoice) -> Sequence[float]:
        texts = sample_texts(context.inputs.get("select", ()), CANDIDATES)
        work = RankWork(layout.folder, tuple(texts), choice.measure)
        measured.update(context.map(rank, {"importance": work})["importance"])
        return [float(value) for value in measured["importance"]]

    layers = choose(parameters.layers, layout.layers, importance)
    new = range(growth.old, growth.size)
    unused = sorted(set(range(growth.total)) - set(vocabulary.values()))
    config = {key: value for key, value in config_of(layout.config, layers).items() if key not in VOLATILE}
    config |= {"vocab_size": growth.total, "tokenizer_size": growth.size}
    if parameters.context is not None:
        config = extended(config, parameters.context)
    grows = bool(growth.rows) or growth.total > layout.rows
    files = plan(layout, layers, growth.total, grows, parameters.max_file_bytes)
    require_agreement("the new checkpoint", config, {t.name: t.shape for file in files for t in file.tensors})
    written = context.map(write_weights, {file.name: WeightsWork.of(file, growth) for file in files})
    rest = SettingsWork(
        config=config,
        generation=_generation(base, config, layout.config, new, unused),
        index=index_of(files),
        tokenizer=str(tokenizer),
        positions=parameters.context.positions if parameters.context else None,
    )
    context.map(write_settings, {"settings": rest})
    mass = None
    if (new or unused) and is_measurable(config):
        folder = context.attempt.data.local_folder() / CHECKPOINT
        mass = context.map(measure_mass, {"mass": MassWork(str(folder), str(base), new, tuple(unused))})["mass"]
    return {
        "parameters": sum(tensor.elements for file in files for tensor in file.tensors),
        "bytes": sum(tensor.bytes for file in files for tensor in file.tensors),
        "files": len(files),
        "tokenizer_size": growth.size,
        "matrix_rows": growth.total,
        "rows_added": growth.total - layout.rows,
        "new_tokens": len(growth.rows),
        "padding_rows": growth.total - growth.size,
        "unused_rows": len(unused),
        "tied": layout.tied,
        "embeddings": {"input": growth.input} if layout.tied else {"input": growth.input, "output": growth.output},
        "mean_row_norm": {end: norms for result in written.values() for end, norms in result.items()},
        "probability_before_training": mass,
        "layers": list(layers),
        "layers_of_base": layout.layers,
        **measured,
        "positions": parameters.context.positions if parameters.context else config.get("max_position_embeddings"),
        "rope": config.get("rope_parameters") or config.get("rope_scaling"),
    }


def _growth(
    parameters: ModelParameters,
    layout: Layout,
    old: Mapping[str, int],
    new: Mapping[str, int],
    tokens: Sequence[Mapping[str, Any]],
) -> Growth:
    _require_same_ids(old, new)
    size = max(new.values()) + 1
    methods = parameters.embeddings
    if not isinstance(methods, Embeddings):
        methods = Embeddings(input=methods, output=methods)
    if layout.tied and methods.input != methods.output:
        raise StageError(
            f"model.embeddings states {methods.input} for the input and {methods.output} for the output, but the base "
            "is tied: one matrix serves both ends. State one method"
        )
    growth = Growth(
        rows=tuple(NewRow(token["id"], tuple(token["base_ids"])) for token in tokens),
        total=padded(max(size, layout.rows), parameters.pad_to_multiple_of),
        old=max(old.values()) + 1,
        input=methods.input,
        output=methods.output,
        seed=parameters.seed,
        spread=float(layout.config.get("initializer_range", 0.02)),
    )
    if growth.size != size:
        raise StageError(f"the tokenizer has {size:,} tokens, the base {growth.old:,} and {len(growth.rows):,} are new")
    require_fit(layout.tensors[layout.input], growth)
    return growth


@dataclass(frozen=True)
class RankWork:
    """What the shard that measures the base's layers needs."""

    base: str
    texts: tuple[str, ...]
    measure: Measure


def rank(work: RankWork, shard: Shard) -> dict[str, Any]:
    """Importance of each layer; see `tasks.model.importance`."""
    scores = rank_layers(Path(work.base), work.texts, work.measure)
    return {
        "importance": [float(f"{score:.{MEASURED_DIGITS}g}") for score in scores],
        "importance_measure": work.measure,
    }


@dataclass(frozen=True)
class WeightsWork:
    """What a shard that writes one weight file needs."""

    file: PlannedFile
    growth: Growth | None

    @classmethod
    def of(cls, file: PlannedFile, growth: Growth) -> WeightsWork:
        """With the growth only where a matrix grows: a million new rows are 26 MB to send."""
        return cls(file, growth if any(tensor.grow for tensor in file.tensors) else None)


def write_weights(work: WeightsWork, shard: Shard) -> dict[str, Any]:
    """Write one weight file tensor by tensor; the mean row lengths of matrices that grew."""
    norms: dict[str, Any] = {}
    outgoing = []
    for tensor in work.file.tensors:
        if tensor.grow is None or work.growth is None:
            outgoing.append(copy_of(tensor.name, tensor.source))
        else:
            method = work.growth.input if tensor.grow == "input" else work.growth.output
            norms[tensor.grow] = {}
            stream = 0 if tensor.grow == "input" else 1
            outgoing.append(grow(tensor.name, tensor.source, work.growth, method, stream, norms[tensor.grow]))
    with shard.create(f"{CHECKPOINT}/{work.file.name}") as path:
        write_file(path, outgoing)
    return {
        end: {kind: round(value, 6) if value is not None else None for kind, value in found.items()}
        for end, found in norms.items()
    }


@dataclass(frozen=True)
class MassWork:
    """What the shard that measures the new rows' probability needs."""

    folder: str
    base: str
    new: range
    unused: tuple[int, ...]


def measure_mass(work: MassWork, shard: Shard) -> dict[str, Any]:
    """See `tasks.model.mass`."""
    return {**new_mass(Path(work.folder), Path(work.base), work.new, work.unused)}


@dataclass(frozen=True)
class SettingsWork:
    """All files of a checkpoint that are not weights."""

    config: dict[str, Any]
    generation: dict[str, Any]
    index: dict[str, Any] | None
    tokenizer: str
    positions: int | None = None


def write_settings(work: SettingsWork, shard: Shard) -> dict[str, Any]:
    """Write configuration, index and tokenizer."""
    if work.index is not None:
        with shard.create(f"{CHECKPOINT}/{INDEX}") as path:
            write_json(path, work.index)
    generation = {key: value for key, value in work.generation.items() if key not in VOLATILE}
    _write_settings(shard, work.config, generation, Path(work.tokenizer), work.positions)
    return {}


def _write_settings(
    shard: Shard,
    config: Mapping[str, Any],
    generation: Mapping[str, Any],
    tokenizer: Path,
    positions: int | None = None,
) -> None:
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


def _generation(
    base: Path, config: Mapping[str, Any], before: Mapping[str, Any], new: range, unused: Sequence[int]
) -> dict[str, Any]:
    """The base's settings of generation; rows that no token has are never sampled."""
    path = base / "generation_config.json"
    if path.is_file():
        generation: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    else:
        ids = ("bos_token_id", "eos_token_id")
        generation = {key: config[key] for key in ids if config.get(key) is not None}
    # A base of ours suppresses its own padding, into which new tokens may have come.
    suppressed = {*(generation.pop("suppress_tokens", None) or ()), *unused} - set(new)
    if suppressed:
        generation["suppress_tokens"] = sorted(suppressed)
    positions = before.get("max_position_embeddings")
    if positions is not None and generation.get("max_length") == positions:
        generation["max_length"] = config["max_position_embeddings"]
    return generation


def _require_same_ids(old: Mapping[str, int], new: Mapping[str, int]) -> None:
    moved = sorted(token for token, index in old.items() if new.get(token) != index)
    if moved:
        raise StageError(
            f"{len(moved):,} of the base's {len(old):,} tokens have another id in the tokenizer (e.g. {moved[0]!r}); "
            "make the tokenizer from the same base (`tokenizer.base`), or `create` a new model for it"
        )
