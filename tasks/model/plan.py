"""What a new checkpoint's weight files hold, decided from headers alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.model.checkpoint import LAYER, SINGLE, Layout
from tasks.model.safetensors_file import Stored


@dataclass(frozen=True)
class Planned:
    """One tensor: its new name, where its bytes lie, and `grow` ("input" or "output") where rows
    are added.
    """

    name: str
    source: Stored
    shape: tuple[int, ...]
    grow: str | None = None

    @property
    def bytes(self) -> int:
        """Size of the new tensor."""
        return (
            self.source.bytes // self.source.shape[0] * self.shape[0]
            if self.grow
            else self.source.bytes
        )

    @property
    def elements(self) -> int:
        """Numbers in the new tensor."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True)
class PlannedFile:
    """One weight file."""

    name: str
    tensors: tuple[Planned, ...]


def plan(
    layout: Layout, layers: Sequence[int], rows: int, grows: bool, max_bytes: int
) -> tuple[PlannedFile, ...]:
    """The new checkpoint's files, filled in the tensors' natural order up to `max_bytes` of tensors
    each.

    Args:
        layers: the base's layers to keep, in order; a layer named twice is copied twice.
        rows: of the embedding matrices afterwards.
        grows: whether any row of them is new; else they are copied.
    """
    places: dict[int, list[int]] = {}
    for place, index in enumerate(layers):
        places.setdefault(index, []).append(place)
    tensors = []
    for name, source in layout.tensors.items():
        if match := LAYER.match(name):
            names = [f"{match[1]}{place}{match[3]}" for place in places.get(int(match[2]), ())]
            tensors += [Planned(new, source, source.shape) for new in names]
        elif grows and name in (layout.input, layout.output):
            end = "input" if name == layout.input else "output"
            tensors.append(Planned(name, source, (rows, *source.shape[1:]), end))
        else:
            tensors.append(Planned(name, source, source.shape))
    tensors.sort(key=lambda tensor: _natural(tensor.name))
    groups: list[list[Planned]] = [[]]
    size = 0
    for tensor in tensors:
        if groups[-1] and size + tensor.bytes > max_bytes:
            groups.append([])
            size = 0
        groups[-1].append(tensor)
        size += tensor.bytes
    total = len(groups)
    names = (
        [SINGLE]
        if total == 1
        else [f"model-{n:05d}-of-{total:05d}.safetensors" for n in range(1, total + 1)]
    )
    return tuple(PlannedFile(name, tuple(group)) for name, group in zip(names, groups, strict=True))


def index_of(files: Sequence[PlannedFile]) -> dict[str, Any] | None:
    """The index that Hugging Face wants beside several files; None for one."""
    if len(files) == 1:
        return None
    return {
        "metadata": {"total_size": sum(tensor.bytes for file in files for tensor in file.tensors)},
        "weight_map": {tensor.name: file.name for file in files for tensor in file.tensors},
    }


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key with numbers as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
