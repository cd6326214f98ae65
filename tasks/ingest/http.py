"""Parses HTTP messages as crawlers store them: the headers of the final response, and its decoded
body.

Headers often lie: crawlers store the decoded body under the original header, servers name codings
that they did not use, and connections end early. So the bytes decide, and the header only says what
to look for:

- A body is chunked if its framing is valid up to the final chunk of size 0. A truncated one must
  have at least one complete chunk, or a first chunk that begins like a page or a coded body.
  Otherwise the body is used as it is.
- A body is coded if it decodes. One that does not decode, and is text, was decoded before it was
  stored.
- A body that ends early is used as far as it goes, and marked; one with damage inside is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.ingest.codings import CODINGS, Damaged, Decoded, is_zstd, undo
from tasks.ingest.raw_documents import Unreadable
from tasks.ingest.record import parse_headers

_STATUS = re.compile(rb"(?:HTTP(?:/\d+(?:\.\d+)?)?|ICY)[ \t]+(\d{3})(?=[ \t\r\n]|$)", re.IGNORECASE)
_HEAD_END = re.compile(rb"\n\r*\n")
"""Does not match the first line's own carriage returns: a search for any number of them takes time
quadratic in that number.
"""
_MAX_HEAD_BYTES = 1 << 18
_MAX_RESPONSES = 64
"""Far above real messages; beyond either limit a message is refused, because reading it would take
quadratic time.
"""
_LISTS = ("transfer-encoding", "content-encoding", "content-type")
"""Header fields that form one list when they are repeated."""

_CHUNK = re.compile(rb"0{0,16}([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?(\r?\n)")
_CUT_SIZE = re.compile(rb"[0-9A-Fa-f]{0,16}[ \t]*(?:;[^\r\n]*)?\r?")
_LAST_CHUNK = re.compile(rb"0+[ \t]*(?:;[^\r\n]*)?(?:\r?\n|$)")
_TRAILERS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n]*(?:\r?\n|$))*\s*")
_CODED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
_MAX_CODINGS = 8
_PEEK_BYTES = 64
_GZIP = b"\x1f\x8b\x08"
_COMPRESS = b"\x1f\x9d"
_MAX_UNDECLARED = 2
"""How many undeclared layers of gzip or Zstandard are decoded: some servers encode twice, or do not
say so. No text begins with the magic numbers of these.
"""


@dataclass(frozen=True, slots=True)
class Message:
    """The final response of an exchange; names of header fields are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def is_http(data: bytes) -> bool:
    """Whether bytes begin with a status line."""
    return _STATUS.match(data) is not None


def message(data: bytes) -> Message:
    """The final response in stored HTTP bytes. Skips interim responses (1xx) and a proxy's response
    to CONNECT.

    The latter is a 200 whose header describes no content, followed by another status line. Raises
    Unreadable("http").
    """
    data = data.lstrip(b"\r\n")
    for _ in range(_MAX_RESPONSES):
        status, end = _STATUS.match(data), _HEAD_END.search(data, 0, _MAX_HEAD_BYTES)
        if status is None or end is None:
            raise Unreadable("http")
        headers = parse_headers(data[: end.start()], lists=_LISTS)
        body = data[end.end() :]
        code = int(status[1])
        contentless = not any(headers.get(name, "0") != "0" for name in (*_LISTS, "content-length"))
        if not (is_http(body) and (100 <= code < 200 or (code == 200 and contentless))):
            return Message(code, headers, body)
        data = body
    raise Unreadable("http")


def decoded_body(headers: Mapping[str, str], body: bytes, max_bytes: int) -> Decoded:
    """Decode an HTTP body, up to about one block more than `max_bytes`.

    Raises Unreadable("chunked") or Unreadable("content_encoding") if it is damaged inside.
    """
    applied = [*_codings(headers, "content-encoding"), *_codings(headers, "transfer-encoding")]
    if len(applied) > _MAX_CODINGS:
        raise Unreadable("content_encoding")
    decoded = Decoded(body, truncated=not applied and _is_short(headers, body))
    if "chunked" not in applied and (dechunked := _dechunk_undeclared(body)):
        decoded = dechunked
    for coding in reversed(applied):
        decoded = _decode_further(decoded, coding, max_bytes)
    for _ in range(_MAX_UNDECLARED):
        if decoded.data.startswith(_GZIP):
            decoded = _decode_further(decoded, "gzip", max_bytes)
        elif is_zstd(decoded.data):
            decoded = _decode_further(decoded, "zstd", max_bytes)
    return decoded


def _decode_further(outer: Decoded, coding: str, max_bytes: int) -> Decoded:
    """Decode one more coding, and keep the marks of those before."""
    inner = _undo(coding, outer.data, max_bytes)
    return Decoded(inner.data, outer.truncated or inner.truncated, outer.trailing or inner.trailing)


def _codings(headers: Mapping[str, str], name: str) -> list[str]:
    """The codings of a header field in the order in which they were applied."""
    values = (
        value.partition(";")[0].strip(" \t\"'")
        for value in headers.get(name, "").lower().split(",")
    )
    return [value.removeprefix("x-") for value in values if value not in ("", "identity", "none")]


def _is_short(headers: Mapping[str, str], body: bytes) -> bool:
    length = headers.get("content-length", "").partition(",")[0].strip()
    return length.isascii() and length.isdigit() and len(length) < 19 and int(length) > len(body)


def _undo(coding: str, data: bytes, max_bytes: int) -> Decoded:
    """Decode one coding, if the bytes have it. Charset names and other non-codings are ignored."""
    if coding == "chunked":
        return _dechunk(data)
    if coding == "compress" and data.startswith(_COMPRESS):  # obsolete for decades, not supported
        raise Unreadable("content_encoding")
    if coding not in CODINGS or not data.strip():
        return Decoded(data)
    try:
        return undo(coding, data, max_bytes)
    except Damaged as error:
        raise Unreadable("content_encoding") from error


def _dechunk_undeclared(body: bytes) -> Decoded | None:
    """The content of a body that is certainly chunked although no header says so: its framing is
    valid to the end, around markup or a coded body.
    """
    size = _CHUNK.match(body)
    if (
        size is None
        or size[2] != b"\r\n"
        or not _begins_content(body[size.end() : size.end() + _PEEK_BYTES])
    ):
        return None
    try:
        content = _dechunk(body)
    except Unreadable:
        return None
    is_complete = not content.truncated and not content.trailing and len(content.data) < len(body)
    return content if is_complete else None


def _dechunk(body: bytes) -> Decoded:
    parts: list[bytes] = []
    at = 0
    while size := _CHUNK.match(body, at):
        length = int(size[1], 16)
        if length == 0:
            break
        start, end = size.end(), size.end() + length
        if end >= len(body):  # cut within this chunk, or within the line end after it
            if parts or (size[2] == b"\r\n" and _begins_content(body[start:])):
                return Decoded(b"".join([*parts, body[start:]]), truncated=True)
            return Decoded(body)
        if body.startswith(b"\r\n", end):
            line_end_bytes = 2
        elif body.startswith((b"\n", b"\r"), end):
            line_end_bytes = 1
        else:
            break
        parts.append(body[start:end])
        at = end + line_end_bytes
    rest = body[at:]
    last = _LAST_CHUNK.match(rest)
    if last and (parts or not rest[last.end() :].strip()):
        return Decoded(b"".join(parts), trailing=_TRAILERS.fullmatch(rest, last.end()) is None)
    if not parts:
        return Decoded(body)
    if _CUT_SIZE.fullmatch(rest):
        return Decoded(b"".join(parts), truncated=True)
    raise Unreadable("chunked")


def _begins_content(data: bytes) -> bool:
    """Whether the bytes after a first line of hex digits are certainly content: markup or a coded
    body.
    """
    return data.startswith(_CODED) or data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"
