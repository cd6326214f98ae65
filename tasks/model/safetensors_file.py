"""Writes a safetensors file tensor by tensor.

The format is eight bytes of header length, a JSON header, then the tensors' bytes without gaps.
safetensors' own `save_file` needs all tensors in memory; this writer streams them. Like
`save_file`, it writes tensors of the widest type first, so that every tensor is aligned. Files with
a single type are identical to those of `save_file` (tested).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from infra.stage import StageError
from tasks.checkpoints.weights import StoredTensor

BLOCK_BYTES = 1 << 24
_BITS = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
}
_BITS |= {"I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64}


Write = Callable[[bytes | bytearray | memoryview], None]


@dataclass(frozen=True)
class OutgoingTensor:
    """A tensor to write: `fill(write)` is called once and must write exactly `bytes` bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    fill: Callable[[Write], None]


def in_order(tensors: Sequence[OutgoingTensor]) -> list[OutgoingTensor]:
    """Tensors in the order they are written: widest type first, then by name."""
    return sorted(tensors, key=lambda tensor: (-_BITS.get(tensor.dtype, 8), tensor.name))


def write_file(path: Path, tensors: Sequence[OutgoingTensor]) -> None:
    """Write a file of `tensors`; memory is bounded by what their `fill` functions hold."""
    ordered = in_order(tensors)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in ordered:
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [end, end := end + tensor.bytes],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for tensor in ordered:
            _fill(stream, tensor)


def _fill(stream: BinaryIO, tensor: OutgoingTensor) -> None:
    before = stream.tell()

    def write(block: bytes | bytearray | memoryview) -> None:
        stream.write(block)

    tensor.fill(write)
    written = stream.tell() - before
    if written != tensor.bytes:
        raise StageError(
            f"{tensor.name}: {written:,} bytes were written instead of {tensor.bytes:,}; the base "
            "has probably changed while it was read: run again"
        )


def copy_of(name: str, source: StoredTensor) -> OutgoingTensor:
    """A tensor whose bytes are copied unchanged, whatever its type."""

    def fill(write: Write) -> None:
        buffer = memoryview(bytearray(min(BLOCK_BYTES, source.bytes)))
        left = source.bytes
        with open(source.path, "rb", buffering=0) as stream:
            stream.seek(source.start)
            while left and (got := stream.readinto(buffer[: min(left, BLOCK_BYTES)])):
                write(buffer[:got])
                left -= got

    return OutgoingTensor(name, source.dtype, source.shape, source.bytes, fill)


def same_bytes(first: StoredTensor, second: StoredTensor) -> bool:
    """Whether two tensors have the same type, shape and bytes."""
    if (first.dtype, first.shape, first.bytes) != (second.dtype, second.shape, second.bytes):
        return False
    with open(first.path, "rb") as first_file, open(second.path, "rb") as second_file:
        first_file.seek(first.start)
        second_file.seek(second.start)
        left = first.bytes
        while left:
            size = min(left, BLOCK_BYTES)
            if first_file.read(size) != second_file.read(size):
                return False
            left -= size
    return True
