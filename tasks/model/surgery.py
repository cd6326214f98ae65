"""Surgery on a base: a plan made from file headers maps each tensor to a new file, copied or grown.

Every weight file is a shard of its own, so a killed run keeps its finished files. It is written
tensor by tensor, so memory is bounded by what one growing matrix needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from infra.context import Context
from infra.stage import StageError
from infra.store.attempt import Shard
from tasks.checkpoints.config_keys import for_all_readers
from tasks.checkpoints.fast_tokenizers import WHITESPACE, byte_level_token
from tasks.checkpoints.tokenizer_files import read_tokenizer, size_of
from tasks.model.checkpoint import Layout, require_agreement
from tasks.model.embeddings import Growth, NewRow, grow, padded, require_fit
from tasks.model.importance import rank_layers
from tasks.model.layers import choose, config_of
from tasks.model.mass import is_measurable, new_mass
from tasks.model.plan import PlannedFile, index_of, plan
from tasks.model.rope import extended
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
"""Training documents offered for measuring layers; `importance` reads the first with text."""
MEASURED_DIGITS = 6
"""Significant digits kept of an importance: the last digits of float sums vary by processor."""


def operate(
    context: Context,
    parameters: ModelParameters,
    base: Path,
    tokenizer: Path,
    tokens: list[dict[str, Any]],
) -> dict[str, Any]:
    """Write `checkpoint/` from a base; returns the statistics.

    Args:
        base: folder of a Hugging Face checkpoint.
        tokenizer: folder of the new model's tokenizer.
        tokens: tokens the base lacks: `id`, `base_ids`.

    Raises:
        StageError: base, tokenizer and parameters do not fit together.
    """
    layout, generation = Layout.read(base), read_generation(base)
    vocabulary = read_tokenizer(tokenizer).get_vocab()
    growth = _growth(parameters, layout, read_tokenizer(base), vocabulary, tokens)
    measured: dict[str, Any] = {}

    def importance(choice: LayerChoice) -> Sequence[float]:
        texts = sample_texts(context.many("select"), CANDIDATES)
        work = RankWork(layout.folder, tuple(texts), choice.measure)
        measured.update(context.map(rank, {"importance": work})["importance"])
        return [float(value) for value in measured["importance"]]

    layers = choose(parameters.layers, layout.layers, importance)
    new = range(growth.old, growth.size)
    unused = sorted(set(range(growth.total)) - set(vocabulary.values()))
    config = {
        key: value for key, value in config_of(layout.config, layers).items() if key not in VOLATILE
    }
    config |= {"vocab_size": growth.total, "tokenizer_size": growth.size}
    positions = parameters.context.positions if parameters.context else None
    if parameters.context is not None:
        config = extended(config, parameters.context)
    config = for_all_readers(config)
    grows = bool(growth.rows) or growth.total > layout.rows
    files = plan(layout, layers, growth.total, grows, parameters.max_file_bytes)
    require_agreement(
        "the new checkpoint", config, {t.name: t.shape for file in files for t in file.tensors}
    )
    written = context.map(
        write_weights, {file.name: WeightsWork.of(file, growth) for file in files}
    )
    rest = SettingsWork(
        config=config,
        generation=generation_of(generation, layout, config, positions, new, unused),
        index=index_of(files),
        tokenizer=str(tokenizer),
        positions=positions,
    )
    context.map(write_settings, {"settings": rest})
    mass = None
    if (new or unused) and is_measurable(config):
        folder = context.attempt.data.local_folder() / CHECKPOINT
        mass = context.map(
            measure_mass, {"mass": MassWork(str(folder), str(base), new, tuple(unused))}
        )["mass"]
    parameters_now = sum(tensor.elements for file in files for tensor in file.tensors)
    layers_kept = "" if parameters.layers is None else f", {len(layers)} of {layout.layers} layers"
    return {
        "headline": f"{parameters_now:,} parameters{layers_kept}",
        "parameters": parameters_now,
        "bytes": sum(tensor.bytes for file in files for tensor in file.tensors),
        "files": len(files),
        "tokenizer_size": growth.size,
        "matrix_rows": growth.total,
        "rows_added": growth.total - layout.rows,
        "new_tokens": len(growth.rows),
        "padding_rows": growth.total - growth.size,
        "unused_rows": len(unused),
        "tied": layout.tied,
        "embeddings": {"input": growth.input}
        if layout.tied
        else {"input": growth.input, "output": growth.output},
        "mean_row_norm": {
            end: norms for result in written.values() for end, norms in result.items()
        },
        "probability_before_training": mass,
        "layers": list(layers),
        "layers_of_base": layout.layers,
        **measured,
        "positions": positions or config.get("max_position_embeddings"),
        "rope": config.get("rope_parameters") or config.get("rope_scaling"),
    }


def _growth(
    parameters: ModelParameters,
    layout: Layout,
    base: Tokenizer,
    new: Mapping[str, int],
    tokens: Sequence[Mapping[str, Any]],
) -> Growth:
    _require_same_ids(base.get_vocab(), new)
    beyond = added_without_rows(base, layout.rows)
    size = max(new.values()) + 1
    methods = parameters.embeddings
    if not isinstance(methods, Embeddings):
        methods = Embeddings(input=methods, output=methods)
    if layout.tied and methods.input != methods.output:
        raise StageError(
            f"model.embeddings states {methods.input} for the input and {methods.output} for the "
            "output, but the base is tied: one matrix serves both ends. State one method"
        )
    growth = Growth(
        rows=(*beyond, *(NewRow(token["id"], tuple(token["base_ids"])) for token in tokens)),
        total=padded(max(size, layout.rows), parameters.pad_to_multiple_of),
        old=size_of(base) - len(beyond),
        input=methods.input,
        output=methods.output,
        seed=parameters.seed,
        spread=float(layout.config.get("initializer_range", 0.02)),
    )
    if growth.size != size:
        raise StageError(
            f"the tokenizer has {size:,} tokens, but the base has {growth.old:,} and only "
            f"{len(growth.rows):,} are new; make the tokenizer from this base"
        )
    require_fit(layout.tensors[layout.input], growth)
    return growth


def added_without_rows(base: Tokenizer, rows: int) -> tuple[NewRow, ...]:
    """Tokens added to a base whose matrix was not grown for them (the `<pad>` of some Llama-2
    copies), to start as new ones do: from the base's tokens of their text. None where pieces of the
    vocabulary lie beyond the matrix too: such a tokenizer is of another model.
    """
    beyond = sorted(
        (id, token.content) for id, token in base.get_added_tokens_decoder().items() if id >= rows
    )
    if not beyond or [id for id, _ in beyond] != list(range(rows, size_of(base))):
        return ()
    by_characters = bool(json.loads(base.to_str())["model"].get("byte_fallback"))
    return tuple(
        NewRow(
            id,
            tuple(
                token.id
                for token in base.model.tokenize(
                    content.replace(" ", WHITESPACE)
                    if by_characters
                    else byte_level_token(content.encode())
                )
            ),
        )
        for id, content in beyond
    )


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
            outgoing.append(
                grow(tensor.name, tensor.source, work.growth, method, stream, norms[tensor.grow])
            )
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


def _require_same_ids(old: Mapping[str, int], new: Mapping[str, int]) -> None:
    moved = sorted(token for token, index in old.items() if new.get(token) != index)
    if moved:
        raise StageError(
            f"{len(moved):,} of the base's {len(old):,} tokens have another id in the tokenizer "
            f"(e.g. {moved[0]!r}); make the tokenizer from the same base (`tokenizer.base`), or "
            "`create` a new model for it"
        )
