"""Decodes HTTP content codings in bounded memory: gzip, deflate, Brotli and Zstandard."""

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
"""Small, because a body may consist of many tiny streams, and whatever a decoder is given beyond
the end of its stream is copied each time.
"""
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15
_GZIP = b"\x1f\x8b"
_GZIP_DEFLATED = _GZIP + b"\x08"
_CHECKED_BYTES = 1024
_NO_TEXT = bytes({*range(0x20), 0x7F} - set(b"\t\n\v\f\r\x1b"))
"""Control characters that text in an 8-bit charset or in ISO-2022 does not have."""
_PADDING = b"\0\r\n \t"


class Damaged(ValueError):
    """Bytes that do not decode, or only up to some place."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Decoded bytes. `truncated`: the stream is incomplete; `trailing`: other bytes follow it."""

    data: bytes
    truncated: bool = False
    trailing: bool = False


def is_text(data: bytes) -> bool:
    """Whether the first bytes hold no control characters other than those of text."""
    head = data[:_CHECKED_BYTES]
    return len(head.translate(None, _NO_TEXT)) == len(head) or head.startswith(
        (b"\xff\xfe", b"\xfe\xff")
    )


def undo(coding: str, data: bytes, max_bytes: int) -> Decoded:
    """Decode one coding of a body, up to about one block more than `max_bytes`. A body without that
    coding is returned unchanged.

    gzip and Zstandard are recognised by their first bytes, whichever coding is named; the others by
    decoding: text that does not decode was never coded. Raises `Damaged`.
    """
    if coding not in CODINGS:
        raise ValueError(f"unknown coding {coding!r}; known are {', '.join(CODINGS)}")
    if is_zstd(data):
        return _zstd(data, max_bytes)
    if coding == "gzip" and not data.startswith(_GZIP):
        return _gzip_after_text(data, max_bytes)
    if coding == "zstd" and not data.startswith(_GZIP_DEFLATED):
        return Decoded(data)
    try:
        if data.startswith(_GZIP if coding == "gzip" else _GZIP_DEFLATED):
            return _gzip(data, max_bytes)
        decoded = _deflate(data, max_bytes) if coding == "deflate" else _brotli(data, max_bytes)
    except Damaged:
        if is_text(data):
            return Decoded(data)
        raise
    # The first letters of a text may happen to begin a valid stream, which then never ends.
    return Decoded(data) if decoded.truncated and is_text(data) else decoded


def is_zstd(data: bytes) -> bool:
    """Whether bytes begin with a Zstandard frame, skippable or not."""
    return data.startswith(ZSTD_MAGIC) or skippable_end(data, 0) is not None


def _gzip_after_text(data: bytes, max_bytes: int) -> Decoded:
    """Decode a body that is labelled gzip but begins otherwise: either it was decoded before it was
    stored, or the server sent some text before the gzip stream.
    """
    at = data.find(_GZIP_DEFLATED)
    if at < 0:
        return Decoded(data)
    rest = _gzip(data[at:], max(max_bytes - at, 0))
    return Decoded(data[:at] + rest.data, rest.truncated, rest.trailing)


def _gzip(data: bytes, max_bytes: int) -> Decoded:
    """Decode all members of a gzip stream (RFC 1952)."""
    parts: list[bytes] = []
    size = at = 0
    while True:
        member, at = _inflate(data, at, _GZIP_BITS, max_bytes - size)
        parts.append(member.data)
        size += len(member.data)
        if member.truncated or size > max_bytes or not data.startswith(_GZIP, at):
            return Decoded(b"".join(parts), member.truncated, bool(data[at:].strip(_PADDING)))


def _deflate(data: bytes, max_bytes: int) -> Decoded:
    """Decode a stream with a zlib header (RFC 9110), or without one, as some servers send."""
    try:
        return _zlib(data, _ZLIB_BITS, max_bytes)
    except Damaged:
        return _zlib(data, _RAW_BITS, max_bytes)


def _zlib(data: bytes, bits: int, max_bytes: int) -> Decoded:
    stream, end = _inflate(data, 0, bits, max_bytes)
    return Decoded(stream.data, stream.truncated, bool(data[end:].strip(_PADDING)))


def _inflate(data: bytes, at: int, bits: int, max_bytes: int) -> tuple[Decoded, int]:
    """(the stream that starts at `at`, the offset at which it ends or reading stopped)."""
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
    """Decode a Brotli stream (RFC 7932).

    The decoder reports bytes after the end of a stream as damage. So where it reports damage, try
    again and feed it single bytes from there on, until it reaches the end.
    """
    try:
        return _brotli_up_to(data, max_bytes, len(data))
    except _DamagedAt as error:
        return _brotli_up_to(data, max_bytes, error.at)


class _DamagedAt(Damaged):
    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


def _brotli_up_to(data: bytes, max_bytes: int, byte_by_byte_from: int) -> Decoded:
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
    """Decode all frames of a Zstandard stream (RFC 8878), ignoring skippable ones."""
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
