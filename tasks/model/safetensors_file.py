"""Read where the tensors of a safetensors file lie, and write such a file one tensor after the
other.

The format is eight bytes of header length, a JSON header, then the tensors' bytes without gaps.
safetensors' own `save_file` wants all tensors in memory; this writer wants none. Tensors of the
widest type come first, as there, so that every tensor is aligned; for files of one type the bytes
are those of `save_file` (tested).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError, safe_open

from infra.stage import StageError
from tasks.checkpoints.text_files import refuse_pointer

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


@dataclass(frozen=True)
class Stored:
    """One tensor of a file: type as safetensors names it, and its bytes' place counted from the
    file's start.
    """

    path: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    bytes: int


Write = Callable[[bytes | bytearray | memoryview], None]


@dataclass(frozen=True)
class Outgoing:
    """One tensor to write: `fill(write)` is called once and must write exactly `bytes` bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    fill: Callable[[Write], None]


def read_header(path: Path) -> dict[str, Stored]:
    """Name -> place of every tensor. `StageError` where the file is cut short, damaged or something
    else.
    """
    refuse_pointer(path)
    with path.open("rb") as stream:
        try:
            # Checks lengths, types, offsets and the file's size, all without reading a tensor.
            with safe_open(path, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise StageError(
                f"{path} is no whole safetensors file ({error}): {path.stat().st_size:,} bytes; "
                "download it again"
            ) from error
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        low, high = entry["data_offsets"]
        found[name] = Stored(
            str(path), entry["dtype"], tuple(entry["shape"]), 8 + length + low, high - low
        )
    return found


def in_order(tensors: Sequence[Outgoing]) -> list[Outgoing]:
    """Widest type first, then by name."""
    return sorted(tensors, key=lambda tensor: (-_BITS.get(tensor.dtype, 8), tensor.name))


def write_file(path: Path, tensors: Sequence[Outgoing]) -> None:
    """Write a file of `tensors`; memory is what `fill` holds."""
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


def _fill(stream: BinaryIO, tensor: Outgoing) -> None:
    before = stream.tell()

    def write(block: bytes | bytearray | memoryview) -> None:
        stream.write(block)

    tensor.fill(write)
    written = stream.tell() - before
    if written != tensor.bytes:
        raise StageError(
            f"{tensor.name}: {written:,} bytes came instead of {tensor.bytes:,}; did the base "
            "change while it was read?"
        )


def copy_of(name: str, source: Stored) -> Outgoing:
    """A tensor whose bytes are copied as they are, whatever their type."""

    def fill(write: Write) -> None:
        buffer = memoryview(bytearray(min(BLOCK_BYTES, source.bytes)))
        left = source.bytes
        with open(source.path, "rb", buffering=0) as stream:
            stream.seek(source.start)
            while left and (got := stream.readinto(buffer[: min(left, BLOCK_BYTES)])):
                write(buffer[:got])
                left -= got

    return Outgoing(name, source.dtype, source.shape, source.bytes, fill)


def same_bytes(first: Stored, second: Stored) -> bool:
    """Whether two tensors have the same type, shape and bytes."""
    if (first.dtype, first.shape, first.bytes) != (second.dtype, second.shape, second.bytes):
        return False
    with open(first.path, "rb") as one, open(second.path, "rb") as two:
        one.seek(first.start)
        two.seek(second.start)
        left = first.bytes
        while left:
            size = min(left, BLOCK_BYTES)
            if one.read(size) != two.read(size):
                return False
            left -= size
    return True
