"""Content codings of HTTP bodies undone in bounded memory: gzip, deflate, Brotli and Zstandard."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass

import brotli
import zstandard

from tasks.ingest.frames import MAX_ZSTD_WINDOW, ZSTD_MAGIC, skippable_end, zstd_frame_end

CODINGS = ("gzip", "deflate", "br", "zstd")

_INPUT_BYTES = 1 << 14
_FIRST_INPUT_BYTES = 1 << 9
"""Streams may be many and tiny; what a decoder is given beyond the end of one is copied for
each.
"""
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15
_GZIP = b"\x1f\x8b"
_GZIP_DEFLATED = _GZIP + b"\x08"
_LOOKED_AT_BYTES = 1024
_NO_TEXT = bytes({*range(0x20), 0x7F} - set(b"\t\n\v\f\r\x1b"))
"""Control characters that text in a charset of 8 bits or in ISO-2022 does not have."""
_PADDING = b"\0\r\n \t"


class Damaged(ValueError):
    """Bytes that do not decode, or do not from some place on."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What came out; `truncated` where the stream goes on, `trailing` where other bytes follow its
    end.
    """

    data: bytes
    truncated: bool = False
    trailing: bool = False


def is_text(data: bytes) -> bool:
    """Whether the first bytes hold no control characters but those that text has."""
    head = data[:_LOOKED_AT_BYTES]
    return len(head.translate(None, _NO_TEXT)) == len(head) or head.startswith(
        (b"\xff\xfe", b"\xfe\xff")
    )


def undo(coding: str, data: bytes, max_bytes: int) -> Decoded:
    """A body without one coding; at most about one block more than `max_bytes`. A body that is not
    coded so is itself.

    gzip and Zstandard are known by their first bytes, whichever of the codings is named; the others
    by decoding: text that does not decode was never coded. Raises `Damaged`.
    """
    if coding not in CODINGS:
        raise ValueError(f"{coding} is none of {', '.join(CODINGS)}")
    if is_zstd(data):
        return _zstd(data, max_bytes)
    if coding == "gzip" and not data.startswith(_GZIP):
        return _begun_plain(data, max_bytes)
    if coding == "zstd" and not data.startswith(_GZIP_DEFLATED):
        return Decoded(data)
    try:
        if data.startswith(_GZIP if coding == "gzip" else _GZIP_DEFLATED):
            return _gzip(data, max_bytes)
        found = _deflate(data, max_bytes) if coding == "deflate" else _brotli(data, max_bytes)
    except Damaged:
        if is_text(data):
            return Decoded(data)
        raise
    # The first letters of a text may well be the beginning of a stream that then never ends.
    return Decoded(data) if found.truncated and is_text(data) else found


def is_zstd(data: bytes) -> bool:
    """Whether bytes begin with a frame of Zstandard, or with one that its decoders skip."""
    return data.startswith(ZSTD_MAGIC) or skippable_end(data, 0) is not None


def _begun_plain(data: bytes, max_bytes: int) -> Decoded:
    """A body under an old header for gzip, or one whose server sent some text before it began to
    compress.
    """
    at = data.find(_GZIP_DEFLATED)
    if at < 0:
        return Decoded(data)
    found = _gzip(data[at:], max(max_bytes - at, 0))
    return Decoded(data[:at] + found.data, found.truncated, found.trailing)


def _gzip(data: bytes, max_bytes: int) -> Decoded:
    """All members of a gzip stream (RFC 1952)."""
    parts: list[bytes] = []
    size = at = 0
    while True:
        found, at = _inflated(data, at, _GZIP_BITS, max_bytes - size)
        parts.append(found.data)
        size += len(found.data)
        if found.truncated or size > max_bytes or not data.startswith(_GZIP, at):
            return Decoded(b"".join(parts), found.truncated, bool(data[at:].strip(_PADDING)))


def _deflate(data: bytes, max_bytes: int) -> Decoded:
    """A stream with zlib's header, as RFC 9110 has it, or without, as some servers send it."""
    try:
        return _zlib(data, _ZLIB_BITS, max_bytes)
    except Damaged:
        return _zlib(data, _RAW_BITS, max_bytes)


def _zlib(data: bytes, bits: int, max_bytes: int) -> Decoded:
    found, end = _inflated(data, 0, bits, max_bytes)
    return Decoded(found.data, found.truncated, bool(data[end:].strip(_PADDING)))


def _inflated(data: bytes, at: int, bits: int, max_bytes: int) -> tuple[Decoded, int]:
    """One stream from `at` on, and where it ends (or reading stopped)."""
    inflater = zlib.decompressobj(bits)
    parts: list[bytes] = []
    size, window = 0, _FIRST_INPUT_BYTES
    while not inflater.eof and size <= max_bytes:
        given = inflater.unconsumed_tail
        if not given:
            given = data[at : at + window]
            at += len(given)
            window = _INPUT_BYTES
        try:
            part = inflater.decompress(given, max_bytes + 1 - size)
        except zlib.error as error:
            raise Damaged from error
        if not part and not given:
            break
        parts.append(part)
        size += len(part)
    ended = inflater.eof
    return Decoded(b"".join(parts), not ended and size <= max_bytes), at - len(inflater.unused_data)


def _brotli(data: bytes, max_bytes: int) -> Decoded:
    """A stream of RFC 7932. Its decoder takes bytes after the end for damage, so it is led up to
    the end there.
    """
    try:
        return _brotli_led(data, max_bytes, len(data))
    except _DamagedAt as error:
        return _brotli_led(data, max_bytes, error.at)


class _DamagedAt(Damaged):
    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


def _brotli_led(data: bytes, max_bytes: int, byte_by_byte_from: int) -> Decoded:
    decoder = brotli.Decompressor()
    parts: list[bytes] = []
    size = at = 0
    while size <= max_bytes and not decoder.is_finished():
        given = b""
        if decoder.can_accept_more_data():
            given = data[at : at + (_INPUT_BYTES if at < byte_by_byte_from else 1)]
            if not given:
                break
        try:
            part = decoder.process(given, output_buffer_limit=max_bytes + 1 - size)
        except brotli.error as error:
            raise _DamagedAt(at) from error
        at += len(given)
        parts.append(part)
        size += len(part)
    ended = decoder.is_finished()
    return Decoded(
        b"".join(parts), not ended and size <= max_bytes, ended and bool(data[at:].strip(_PADDING))
    )


def _zstd(data: bytes, max_bytes: int) -> Decoded:
    """All frames of a Zstandard stream (RFC 8878), without those to be skipped."""
    decoder = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
    parts: list[bytes] = []
    size = at = 0
    while size <= max_bytes:
        if (end := skippable_end(data, at)) is not None:
            at = end
            continue
        if not data.startswith(ZSTD_MAGIC, at):
            break
        end = zstd_frame_end(data, at)
        try:
            with decoder.stream_reader(io.BytesIO(data[at:end])) as reader:
                while size <= max_bytes and (
                    part := reader.read(min(1 << 16, max_bytes + 1 - size))
                ):
                    parts.append(part)
                    size += len(part)
        except zstandard.ZstdError as error:
            raise Damaged from error
        if end is None:
            return Decoded(b"".join(parts), truncated=size <= max_bytes)
        at = end
    return Decoded(b"".join(parts), trailing=size <= max_bytes and bool(data[at:].strip(_PADDING)))
