"""Parts of tensors: which rows of each a rank holds, and tensors stored in parts.

FSDP2 splits every parameter by its first dimension: of n rows over s shards, shard i holds rows
[i x c, (i + 1) x c) with c = ceil(n / s); the last ones hold fewer, or none. So a part is a range
of rows, whatever wrote it, and a tensor that 2 ranks wrote is read by 1, 3 or 16 of them.

Optimizer, norms and files work on the local part, a plain tensor: what they do is elementwise by
parameter, or a sum.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

_PARTS = "parts"
"""Key of a file's metadata: JSON of tensor -> [first row, shape of the whole]."""


@dataclass(frozen=True)
class Part:
    """Rows [first, last) of a tensor of `shape`; a scalar is one row."""

    shape: tuple[int, ...]
    first: int
    last: int

    @classmethod
    def whole(cls, shape: Iterable[int]) -> Part:
        """All rows."""
        sizes = tuple(shape)
        return cls(sizes, 0, sizes[0] if sizes else 1)

    @property
    def is_whole(self) -> bool:
        """Whether the part is the tensor."""
        return self == Part.whole(self.shape)

    def within(self, rows: tuple[int, int]) -> slice:
        """Where rows [first, last) of the whole tensor are in the part."""
        size = self.last - self.first
        low, high = (min(max(row - self.first, 0), size) for row in rows)
        return slice(low, high)


def part_of(tensor: Tensor) -> Part:
    """The part of a tensor that this rank holds."""
    if not isinstance(tensor, DTensor):
        return Part.whole(tensor.shape)
    shards = [
        (tensor.device_mesh.size(dim), tensor.device_mesh.get_local_rank(dim))
        for dim, placement in enumerate(tensor.placements)
        if placement.is_shard(0)
    ]
    if len(shards) != 1:
        raise ValueError(f"a tensor placed as {tensor.placements} is not split by rows alone")
    ((size, index),) = shards
    rows = tensor.shape[0]
    each = -(-rows // size)
    return Part(tuple(tensor.shape), min(index * each, rows), min((index + 1) * each, rows))


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor, as a plain tensor of the same memory, without gradient."""
    if isinstance(tensor, DTensor):
        part: Tensor = tensor.to_local()  # type: ignore[no-untyped-call]
        return part.detach()
    return tensor.detach()


def write_parts(
    path: Path,
    tensors: Mapping[str, Tensor],
    parts: Mapping[str, Part],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write local tensors, on the CPU, as safetensors that say which rows they are."""
    described = {name: [part.first, part.shape] for name, part in parts.items() if name in tensors}
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in tensors.items()},
        path,
        metadata={_PARTS: json.dumps(described, sort_keys=True), **(metadata or {})},
    )


@dataclass(frozen=True)
class _Piece:
    file: Path
    first: int
    last: int


class StoredTensors:
    """Tensors of safetensors files, whole or in parts, of which any rows can be read.

    Args:
        files: those that `write_parts` wrote, or plain ones.
        prefix: only names that begin with it, which is left out.
    """

    def __init__(self, files: Iterable[Path] = (), prefix: str = "") -> None:
        self._prefix = prefix
        self._pieces: dict[str, list[_Piece]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._dtypes: dict[str, str] = {}
        self._open: dict[Path, Any] = {}
        for path in files:
            handle = self._handle(path)
            described = json.loads((handle.metadata() or {}).get(_PARTS, "{}"))
            for stored in handle.keys():  # noqa: SIM118 - not a mapping
                if stored.startswith(prefix):
                    self._add(path, stored, described.get(stored))
        for pieces in self._pieces.values():
            pieces.sort(key=lambda piece: piece.first)

    def _add(self, path: Path, stored: str, described: list[Any] | None) -> None:
        piece = self._handle(path).get_slice(stored)
        shape = tuple(piece.get_shape())
        first, whole = (0, shape) if described is None else (described[0], tuple(described[1]))
        rows = shape[0] if shape else 1
        name = stored.removeprefix(self._prefix)
        if self._shapes.setdefault(name, whole) != whole:
            raise ValueError(f"{path}: {stored} has shape {whole} here, another elsewhere")
        self._dtypes[name] = piece.get_dtype()
        self._pieces.setdefault(name, []).append(_Piece(path, first, first + rows))

    def _handle(self, path: Path) -> Any:
        if path not in self._open:
            self._open[path] = safe_open(path, framework="pt")
        return self._open[path]

    def __contains__(self, name: object) -> bool:
        return name in self._pieces

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._pieces))

    @property
    def dtypes(self) -> set[str]:
        """Types of all tensors, as safetensors names them."""
        return set(self._dtypes.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the whole tensor."""
        return self._shapes[name]

    def read(self, name: str, part: Part | None = None) -> Tensor:
        """The rows of a part (default: the whole tensor), on the CPU, in memory of their own.

        Raises:
            ValueError: the files do not hold all of them.
        """
        wanted = part or Part.whole(self._shapes[name])
        pieces = []
        row = wanted.first
        for piece in self._pieces[name]:
            last = min(piece.last, wanted.last)
            if piece.first <= row < last:
                pieces.append(self._rows(piece, name, row, last))
                row = last
        if row < wanted.last:
            raise ValueError(f"rows {row} to {wanted.last} of {name} are not stored")
        if not pieces:
            return self._empty(name)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _rows(self, piece: _Piece, name: str, first: int, last: int) -> Tensor:
        handle = self._handle(piece.file)
        if (first, last) == (piece.first, piece.last):
            whole: Tensor = handle.get_tensor(self._prefix + name)
            return whole
        stored = handle.get_slice(self._prefix + name)
        rows: Tensor = stored[first - piece.first : last - piece.first]
        return rows

    def _empty(self, name: str) -> Tensor:
        """No row of a tensor; a rank may hold none of a small one."""
        first = self._pieces[name][0]
        stored = self._handle(first.file).get_slice(self._prefix + name)
        rows: Tensor = stored[0:0]
        return rows
