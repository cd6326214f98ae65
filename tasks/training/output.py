"""The output of a phase: `checkpoint/`, which `from_pretrained` reads, and `state/`, which the next
phase continues from.

The main rank writes both. The others send it their rows one tensor at a time, and it writes files
of a bounded size, so it never holds the whole model.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tasks.checkpoints.config_keys import for_all_readers
from tasks.checkpoints.text_files import read_json, write_json
from tasks.training.adapters.files import FOLDER, adapter_weights, write_adapter
from tasks.training.adapters.merge import Weight, plain_weights
from tasks.training.distributed.parts import Part, StoredTensors, local, part_of
from tasks.training.distributed.ranks import Ranks
from tasks.training.distributed.sharding import fits, weight_files
from tasks.training.model.names import is_adapter, plain_name
from tasks.training.model_setup import MOMENTS_STEM
from tasks.training.spec import Carried, Spec
from tasks.training.step.optimizer import AdamW

_WRITER_KEYS = ("_name_or_path", "transformers_version")

FILE_BYTES = 4 << 30
"""Tensors of one file; a larger tensor has a file of its own."""

_Gather = Callable[[], Tensor | None]
"""Gives a tensor on the main rank's CPU, None on others; called on all of them."""


def write_output(
    spec: Spec, language_model: Any, optimizer: AdamW, carried: Carried, ranks: Ranks
) -> None:
    """Write the output folder of `spec` anew. All ranks call it."""
    output = Path(spec.output)

    def begin() -> None:
        if ranks.is_main:
            shutil.rmtree(output, ignore_errors=True)
            (output / "state").mkdir(parents=True)
            (output / "checkpoint").mkdir()

    ranks.together(begin)
    _write_weights(spec, language_model, ranks)
    _write_adapter(spec, language_model, ranks)
    # The next phase begins with a fresh adapter, for which these moments mean nothing.
    moments = {key: m for key, m in optimizer.portable().items() if not is_adapter(key)}
    parts = {key: optimizer.part(key) for key in moments}
    _write_files(
        output / "state",
        MOMENTS_STEM,
        {
            key: (
                math.prod(parts[key].shape) * tensor.element_size(),
                partial(gather, tensor, parts[key], ranks),
            )
            for key, tensor in moments.items()
        },
        ranks,
    )

    def end() -> None:
        if ranks.is_main:
            carried.write(output / "state")

    ranks.together(end)


def _write_weights(spec: Spec, language_model: Any, ranks: Ranks) -> None:
    previous, checkpoint = Path(spec.previous), Path(spec.output) / "checkpoint"
    weights = plain_weights(language_model)

    def of(weight: Weight) -> Tensor | None:
        return gather(weight.own(), weight.part, ranks)

    tensors: dict[str, tuple[int, _Gather]] = {
        name: (weight.nbytes, partial(of, weight)) for name, weight in weights.items()
    }
    persistent = language_model.state_dict().keys() & dict(language_model.named_buffers()).keys()
    for name in persistent:
        buffer = language_model.get_buffer(name)
        tensors[plain_name(name)] = (buffer.nbytes, buffer.cpu)
    shapes = [(weight.part.shape, weight.names) for weight in weights.values()]
    if fits(shapes, StoredTensors(weight_files(previous))):
        _write_files(checkpoint, "model", tensors, ranks, {"format": "pt"})
    else:  # transformers saves these families under other names than it gives them in memory
        whole = {name: gathered() for name, (_, gathered) in tensors.items()}
        if ranks.is_main:
            language_model.save_pretrained(checkpoint, state_dict=whole)

    def finish() -> None:
        if ranks.is_main:
            dtype = str(next(iter(weights.values())).dtype).removeprefix("torch.")
            complete(previous, checkpoint, type(language_model).__name__, dtype)

    ranks.together(finish)


def _write_adapter(spec: Spec, language_model: Any, ranks: Ranks) -> None:
    """The adapter beside the merged weights, where there is one."""
    if spec.parameters.adapter is None:
        return
    gathered = {
        name: gather(local(parameter), part_of(parameter), ranks)
        for name, parameter in adapter_weights(language_model).items()
    }
    folder = Path(spec.output) / FOLDER
    ranks.together(lambda: write_adapter(folder, language_model, gathered, ranks))


def gather(own: Tensor, part: Part, ranks: Ranks) -> Tensor | None:
    """A tensor gathered on the main rank's CPU from the parts of all; None on the others."""
    own = own.cpu()
    if part.is_whole:
        return own if ranks.is_main else None
    if not ranks.is_main:
        if ranks.is_first_replica and part.last > part.first:
            ranks.send_to_main(own.contiguous())
        return None
    gathered = torch.empty(part.shape, dtype=own.dtype)
    gathered[: part.last] = own
    each, shards = part.last, ranks.world_size // ranks.replicas
    for rank in range(1, shards):  # the first replica is the first ranks
        rows = gathered[rank * each : (rank + 1) * each]
        if rows.numel():
            ranks.receive(rows, rank)
    return gathered


def _write_files(
    folder: Path,
    stem: str,
    tensors: Mapping[str, tuple[int, _Gather]],
    ranks: Ranks,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors, given as (bytes, gather), as one safetensors file or several with an index."""
    files = split(({name: size for name, (size, _) in tensors.items()}), FILE_BYTES)
    index: dict[str, str] = {}
    for number, names in enumerate(files, start=1):
        place = "" if len(files) == 1 else f"-{number:05d}-of-{len(files):05d}"
        file = f"{stem}{place}.safetensors"
        gathered = {name: tensors[name][1]() for name in names}

        def write(file: str = file, gathered: Mapping[str, Tensor | None] = gathered) -> None:
            if ranks.is_main:
                held = {name: t.contiguous() for name, t in gathered.items() if t is not None}
                save_file(held, folder / file, metadata=dict(metadata or {}))

        ranks.together(write)
        index |= dict.fromkeys(names, file)
    if len(files) > 1 and ranks.is_main:
        total = sum(size for size, _ in tensors.values())
        write_json(
            folder / f"{stem}.safetensors.index.json",
            {"metadata": {"total_size": total}, "weight_map": index},
        )


def split(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    """Names in order, in groups of at most `limit` bytes (or a single name); at least one group."""
    groups: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if groups[-1] and held + size > limit:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += size
    return groups


def complete(previous: Path, checkpoint: Path, architecture: str, dtype: str) -> None:
    """Complete a folder of weights from the checkpoint that training began with.

    Training changes weights only. So the configuration is that of `previous`, under the names that
    old and new readers know; the one that this release of transformers writes has renamed keys and
    lacks those equal to its defaults.
    """
    written = {"architectures": [architecture], "dtype": dtype}
    config = read_json(previous / "config.json") | written
    config = {key: value for key, value in config.items() if key not in _WRITER_KEYS}
    write_json(checkpoint / "config.json", for_all_readers(config))
    for file in sorted(previous.iterdir()):
        weights = file.suffix in (".safetensors", ".bin") or file.name.endswith(".index.json")
        if file.is_file() and not weights and file.name != "config.json":
            shutil.copyfile(file, checkpoint / file.name)
