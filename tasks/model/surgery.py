"""Changes a base: grows its embeddings, drops or repeats layers, extends its context.

1. Read the headers of the base's files, and check them against its configuration and tokenizer.
2. Choose the layers to keep, and decide the new configuration.
3. Plan the new weight files: each tensor is copied or grown from one of the base's.
4. Write each weight file in its own shard, so that a killed run keeps the finished files. A file is
   written tensor by tensor, so memory is bounded by the blocks of one growing matrix.
5. Write configuration and tokenizer, and measure the probability of the new rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from infra.context import Context
from infra.stage import StageError
from infra.store.attempt import Shard
from tasks.checkpoints.config_keys import for_all_readers
from tasks.checkpoints.rope import extended
from tasks.checkpoints.tokenizer_files import read_tokenizer, size_of
from tasks.model.added_tokens import added_without_rows
from tasks.model.checkpoint import Checkpoint, require_agreement
from tasks.model.embeddings import Growth, NewRow, grow, padded, require_fit
from tasks.model.importance import rank_layers
from tasks.model.layers import choose, config_of
from tasks.model.mass import is_measurable, new_mass
from tasks.model.plan import PlannedFile, index_of, plan
from tasks.model.safetensors_file import copy_of, write_file
from tasks.model.settings import (
    CHECKPOINT,
    VOLATILE,
    SettingsWork,
    generation_of,
    read_generation,
    write_settings,
)
from tasks.model.stage import Embeddings, LayerChoice, Measure, ModelParameters
from tasks.model.texts import sample_texts

CANDIDATES = 64
"""Training documents read to measure layers; `importance` uses the first that are long enough."""
MEASURED_DIGITS = 6
"""Significant digits kept of an importance: the last digits of float sums depend on the
processor.
"""


def operate(
    context: Context,
    parameters: ModelParameters,
    base_folder: Path,
    tokenizer_folder: Path,
    new_tokens: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Write `checkpoint/` from a base; returns the statistics.

    Args:
        base_folder: a Hugging Face checkpoint.
        tokenizer_folder: the new model's tokenizer.
        new_tokens: `id` and `base_ids` of each token that the base lacks.

    Raises:
        StageError: base, tokenizer and parameters do not fit together.
    """
    base, settings_of_base = Checkpoint.read(base_folder), read_generation(base_folder)
    vocabulary = read_tokenizer(tokenizer_folder).get_vocab()
    growth = _growth(parameters, base, read_tokenizer(base_folder), vocabulary, new_tokens)
    layers, importance = _chosen_layers(context, parameters, base, base_folder)
    new = range(growth.old, growth.size)
    unused = sorted(set(range(growth.total)) - set(vocabulary.values()))
    config = _new_config(parameters, base, growth, layers)
    positions = parameters.context.positions if parameters.context else None
    grows = bool(growth.rows) or growth.total > base.rows
    files = plan(base, layers, growth.total, grows, parameters.max_file_bytes)
    tensors = [tensor for file in files for tensor in file.tensors]
    require_agreement("the new checkpoint", config, {t.name: t.shape for t in tensors})

    norms_by_file = context.map(
        write_weights, {file.name: WeightsWork.of(file, growth, base_folder) for file in files}
    )
    settings = SettingsWork(
        config=config,
        generation=generation_of(settings_of_base, base, config, positions, new, unused),
        index=index_of(files),
        tokenizer=tokenizer_folder,
        positions=positions,
    )
    context.map(write_settings, {"settings": settings})
    mass = None
    if (new or unused) and is_measurable(config):
        folder = context.attempt.data.local_folder(CHECKPOINT)
        mass_work = MassWork(folder, base_folder, new, tuple(unused))
        mass = context.map(measure_mass, {"mass": mass_work})["mass"]

    elements = sum(tensor.elements for tensor in tensors)
    layers_kept = "" if parameters.layers is None else f", {len(layers)} of {base.layers} layers"
    methods = {"input": growth.input}
    if not base.tied:
        methods["output"] = growth.output
    return {
        "headline": f"{elements:,} parameters{layers_kept}",
        "parameters": elements,
        "bytes": sum(tensor.bytes for tensor in tensors),
        "files": len(files),
        "tokenizer_size": growth.size,
        "matrix_rows": growth.total,
        "rows_added": growth.total - base.rows,
        "new_tokens": len(growth.rows),
        "padding_rows": growth.total - growth.size,
        "unused_rows": len(unused),
        "tied": base.tied,
        "embeddings": methods,
        "mean_row_norm": {
            matrix: norms for result in norms_by_file.values() for matrix, norms in result.items()
        },
        "probability_before_training": mass,
        "layers": list(layers),
        "layers_of_base": base.layers,
        **importance,
        "positions": positions or config.get("max_position_embeddings"),
        "rope": config.get("rope_parameters") or config.get("rope_scaling"),
    }


def _growth(
    parameters: ModelParameters,
    base: Checkpoint,
    base_tokenizer: Tokenizer,
    vocabulary: Mapping[str, int],
    new_tokens: Sequence[Mapping[str, Any]],
) -> Growth:
    """How the base's matrices grow to `vocabulary`, the new tokenizer's."""
    _require_same_ids(base_tokenizer.get_vocab(), vocabulary)
    without_rows = added_without_rows(base_tokenizer, base.rows)
    size = max(vocabulary.values()) + 1
    methods = parameters.embeddings
    if not isinstance(methods, Embeddings):
        methods = Embeddings(input=methods, output=methods)
    if base.tied and methods.input != methods.output:
        raise StageError(
            f"model.embeddings states {methods.input} for the input and {methods.output} for the "
            "output, but the base is tied: one matrix serves as both. State one method"
        )
    old = size_of(base_tokenizer)
    learned = (
        NewRow(token["id"], tuple(token["base_ids"]))
        for token in new_tokens
        if token["id"] >= old  # a base trained with this tokenizer has their rows
    )
    growth = Growth(
        rows=(*without_rows, *learned),
        total=padded(max(size, base.rows), parameters.pad_to_multiple_of),
        old=old - len(without_rows),
        input=methods.input,
        output=methods.output,
        seed=parameters.seed,
        spread=float(base.config.get("initializer_range", 0.02)),
    )
    if growth.size != size:
        raise StageError(
            f"the tokenizer has {size:,} tokens, but the base has {growth.old:,} and only "
            f"{len(growth.rows):,} are new; make the tokenizer from this base"
        )
    require_fit(base.tensors[base.input], growth)
    return growth


def _chosen_layers(
    context: Context, parameters: ModelParameters, base: Checkpoint, folder: Path
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The layers to keep, and the result of `rank` if layers were measured."""
    measured: dict[str, Any] = {}

    def importance(choice: LayerChoice) -> Sequence[float]:
        texts = sample_texts(context.many("select"), CANDIDATES)
        work = RankWork(folder, tuple(texts), choice.measure)
        measured.update(context.map(rank, {"importance": work})["importance"])
        return [float(value) for value in measured["importance"]]

    return choose(parameters.layers, base.layers, importance), measured


def _new_config(
    parameters: ModelParameters, base: Checkpoint, growth: Growth, layers: Sequence[int]
) -> dict[str, Any]:
    """The new checkpoint's config.json."""
    config = config_of(base.config, layers)
    config = {key: value for key, value in config.items() if key not in VOLATILE}
    config |= {"vocab_size": growth.total, "tokenizer_size": growth.size}
    if parameters.context is not None:
        config = extended(config, parameters.context)
    return for_all_readers(config)


@dataclass(frozen=True)
class RankWork:
    """Input of the shard that measures the base's layers."""

    base: Path
    texts: tuple[str, ...]
    measure: Measure


def rank(work: RankWork, shard: Shard) -> dict[str, Any]:
    """Importance of each layer; see `tasks.model.importance`."""
    scores = rank_layers(work.base, work.texts, work.measure)
    return {
        "importance": [float(f"{score:.{MEASURED_DIGITS}g}") for score in scores],
        "importance_measure": work.measure,
    }


@dataclass(frozen=True)
class WeightsWork:
    """Input of a shard that writes one weight file from those in `base`."""

    file: PlannedFile
    growth: Growth | None
    base: Path

    @classmethod
    def of(cls, file: PlannedFile, growth: Growth, base: Path) -> WeightsWork:
        """Work for one file. `growth` is left out if no matrix in it grows: pickling it takes 26 MB
        for a million new rows.
        """
        return cls(file, growth if any(t.grow for t in file.tensors) else None, base)


def write_weights(work: WeightsWork, shard: Shard) -> dict[str, Any]:
    """Write one weight file tensor by tensor; returns mean row lengths of matrices that grew."""
    norms: dict[str, Any] = {}
    outgoing = []
    for tensor in work.file.tensors:
        source = tensor.source.within(work.base)
        if tensor.grow is None or work.growth is None:
            outgoing.append(copy_of(tensor.name, source))
        else:
            method = work.growth.input if tensor.grow == "input" else work.growth.output
            norms[tensor.grow] = {}
            stream = 0 if tensor.grow == "input" else 1
            outgoing.append(
                grow(tensor.name, source, work.growth, method, stream, norms[tensor.grow])
            )
    with shard.create(f"{CHECKPOINT}/{work.file.name}") as path:
        write_file(path, outgoing)
    return {matrix: _rounded(lengths) for matrix, lengths in norms.items()}


def _rounded(lengths: Mapping[str, float | None]) -> dict[str, float | None]:
    return {
        rows: round(length, 6) if length is not None else None for rows, length in lengths.items()
    }


@dataclass(frozen=True)
class MassWork:
    """Input of the shard that measures the probability of new rows."""

    folder: Path
    base: Path
    new: range
    unused: tuple[int, ...]


def measure_mass(work: MassWork, shard: Shard) -> dict[str, Any]:
    """Probability of new rows; see `tasks.model.mass`."""
    return {**new_mass(work.folder, work.base, work.new, work.unused)}


def _require_same_ids(old: Mapping[str, int], new: Mapping[str, int]) -> None:
    moved = sorted(token for token, index in old.items() if new.get(token) != index)
    if moved:
        raise StageError(
            f"{len(moved):,} of the base's {len(old):,} tokens have a different id in the "
            f"tokenizer (e.g. {moved[0]!r}); make the tokenizer from the same base "
            "(`tokenizer.base`), or `create` a new model for it"
        )
