"""Event files that TensorBoard reads, written without TensorBoard.

A file is a sequence of records (TFRecord): length (uint64, little endian), masked CRC-32C of these
8 bytes, the data, masked CRC-32C of the data. The data is a protocol buffer `Event`; only the
fields used here are encoded:

    Event            1 wall_time double, 2 step int64, 3 file_version string, 5 summary, 7 session
    Summary          1 value (repeated)
    Summary.Value    1 tag string, 2 simple_value float, 8 tensor, 9 metadata
    SummaryMetadata  1 plugin_data (1 plugin_name string)
    TensorProto      1 dtype (7: string), 2 shape (empty: a scalar), 8 string_val bytes
    SessionLog       1 status (1: start)

(tensorboard/compat/proto/*.proto; these numbers cannot change.) TensorBoard's own writer brings
grpc and protobuf, which a node that trains need not have.

A phase that is resumed must not draw points twice: `EventFile` cuts what older files of its folder
hold beyond the step that it continues from. A TensorBoard that is open meanwhile drops them too, as
the new file begins with a session's start.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

_VERSION = b"brain.Event:2"
_DT_STRING = 7
_SESSION_START = 1
_HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli). Example: b"123456789" gives 0xE3069283."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _masked(data: bytes) -> int:
    value = crc32c(data)
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def record(data: bytes) -> bytes:
    """The data framed as a record."""
    length = struct.pack("<Q", len(data))
    return length + _CRC.pack(_masked(length)) + data + _CRC.pack(_masked(data))


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _scalar(tag: str, value: float) -> bytes:
    return _bytes(1, _bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", value))


def _text(tag: str, text: str) -> bytes:
    tensor = _number(1, _DT_STRING) + _bytes(2, b"") + _bytes(8, text.encode())
    metadata = _bytes(1, _bytes(1, b"text"))
    return _bytes(1, _bytes(1, tag.encode()) + _bytes(8, tensor) + _bytes(9, metadata))


def event(step: int, content: bytes, moment: float | None = None) -> bytes:
    """An encoded `Event`. `moment`: seconds since 1970, by default now."""
    moment = time.time() if moment is None else moment
    return b"\x09" + struct.pack("<d", moment) + _number(2, step) + content


def _step_of(data: bytes) -> int:
    """The step of an event that `event` encoded."""
    number, shift = 0, 0
    for byte in data[10:20]:  # after the moment (9 bytes) and the step's key
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return number


def cut_after(path: Path, step: int) -> None:
    """Cut an event file of ours at the first event after `step`, or where a kill cut it short."""
    with path.open("r+b") as file:
        end = 0
        while header := file.read(_HEADER.size):
            if len(header) < _HEADER.size:
                break
            length, check = _HEADER.unpack(header)
            if check != _masked(header[:8]):
                break
            data = file.read(length + _CRC.size)
            if len(data) < length + _CRC.size or _step_of(data[:length]) > step:
                break
            end = file.tell()
        file.truncate(end)


class EventFile:
    """A new event file in a folder, which continues those that are there from `step`.

    Raises:
        OSError: the folder or the file cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        older = sorted(folder.glob("events.out.tfevents.*"))
        for path in older:
            cut_after(path, step)
        # TensorBoard reads files by name; the moment comes first in it.
        moment = f"{max(int(time.time()), _moment_of(older[-1]) + 1 if older else 0):010d}"
        name = f"events.out.tfevents.{moment}.{socket.gethostname()}.{os.getpid()}.puna"
        self._file = (folder / name).open("xb")
        self._write(event(step, _bytes(3, _VERSION)))
        if older:
            self._write(event(step + 1, _bytes(7, _number(1, _SESSION_START))))

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """Write one point of each curve; values that are missing or not finite leave a gap."""
        encoded = [
            _scalar(tag, value)
            for tag, value in values.items()
            if value is not None and math.isfinite(value)
        ]
        self._write(event(step, _bytes(5, b"".join(encoded))))

    def texts(self, step: int, values: Mapping[str, str]) -> None:
        """Write Markdown texts."""
        encoded = [_text(tag, text) for tag, text in values.items()]
        self._write(event(step, _bytes(5, b"".join(encoded))))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, data: bytes) -> None:
        self._file.write(record(data))
        self._file.flush()


def _moment_of(path: Path) -> int:
    """The moment in an event file's name."""
    word = path.name.split(".")[3]
    return int(word) if word.isdecimal() else 0
