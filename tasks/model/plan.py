"""Plans which tensors go into which weight file of a new checkpoint, from file headers alone."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.checkpoints.weights import SINGLE, StoredTensor
from tasks.model.checkpoint import LAYER, Checkpoint


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor of the new checkpoint: its name and shape, and the base's tensor it is made from.

    `grow` names the embedding matrix ("input" or "output") that gets more rows; None: copied.
    """

    name: str
    source: StoredTensor
    shape: tuple[int, ...]
    grow: str | None = None

    @property
    def bytes(self) -> int:
        """Size of the new tensor."""
        if self.grow is None:
            return self.source.bytes
        return self.source.bytes // self.source.shape[0] * self.shape[0]

    @property
    def elements(self) -> int:
        """Number of elements in the new tensor."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class PlannedFile:
    """A weight file of the new checkpoint."""

    name: str
    tensors: tuple[PlannedTensor, ...]


def plan(
    base: Checkpoint, layers: Sequence[int], rows: int, grows: bool, max_bytes: int
) -> tuple[PlannedFile, ...]:
    """The new checkpoint's files, each filled with up to `max_bytes` of tensors in natural order of
    their names.

    Args:
        base: the checkpoint to take tensors from.
        layers: the base's layers to keep, in order; a layer named twice is copied twice.
        rows: of the new embedding matrices.
        grows: whether any of these rows is new; if not, the matrices are copied.
    """
    tensors = sorted(
        planned_tensors(base, layers, rows, grows), key=lambda tensor: _natural(tensor.name)
    )
    groups: list[list[PlannedTensor]] = [[]]
    size = 0
    for tensor in tensors:
        if groups[-1] and size + tensor.bytes > max_bytes:
            groups.append([])
            size = 0
        groups[-1].append(tensor)
        size += tensor.bytes
    total = len(groups)
    names = [f"model-{n:05d}-of-{total:05d}.safetensors" for n in range(1, total + 1)]
    if total == 1:
        names = [SINGLE]
    return tuple(PlannedFile(name, tuple(group)) for name, group in zip(names, groups, strict=True))


def planned_tensors(
    base: Checkpoint, layers: Sequence[int], rows: int, grows: bool
) -> list[PlannedTensor]:
    """The new checkpoint's tensors, in the order of the base's; see `plan`."""
    positions: dict[int, list[int]] = {}
    for position, layer in enumerate(layers):
        positions.setdefault(layer, []).append(position)
    tensors = []
    for name, source in base.tensors.items():
        if match := LAYER.match(name):
            prefix, layer, suffix = match[1], int(match[2]), match[3]
            for position in positions.get(layer, ()):
                tensors.append(PlannedTensor(f"{prefix}{position}{suffix}", source, source.shape))
        elif grows and name in (base.input, base.output):
            matrix = "input" if name == base.input else "output"
            tensors.append(PlannedTensor(name, source, (rows, *source.shape[1:]), matrix))
        else:
            tensors.append(PlannedTensor(name, source, source.shape))
    return tensors


def index_of(files: Sequence[PlannedFile]) -> dict[str, Any] | None:
    """The index that Hugging Face requires for several files; None for a single file."""
    if len(files) == 1:
        return None
    return {
        "metadata": {"total_size": sum(tensor.bytes for file in files for tensor in file.tensors)},
        "weight_map": {tensor.name: file.name for file in files for tensor in file.tensors},
    }


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that compares numbers by value: layer 2 before layer 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
