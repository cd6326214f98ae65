"""An HTTP message as crawlers store it: the final reply's header fields and its body, without the
body's codings.

Headers often lie. Crawlers store the decoded body under the old header, servers name codings that
they did not use, and connections end early. So what the bytes bear out decides, the header only
says what to look for:

- A body is chunked where its framing holds up to the closing chunk of size 0, or, cut short, where
  at least one whole chunk holds (or the first cut one begins with what a page or a coded body
  begins with). Otherwise it is as it is.
- A body is coded where it decodes. One that does not, and is text, was decoded before it was
  stored.
- A body that ends early gives what is there and is marked; one with damage inside is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.ingest.codings import CODINGS, Damaged, Decoded, is_zstd, undo
from tasks.ingest.raw_documents import Unreadable
from tasks.ingest.records import parse_headers

_STATUS = re.compile(rb"(?:HTTP(?:/\d+(?:\.\d+)?)?|ICY)[ \t]+(\d{3})(?=[ \t\r\n]|$)", re.IGNORECASE)
_HEAD_END = re.compile(rb"\n\r*\n")
"""Not what stands before: a search for any number of them takes time quadratic in that number."""
_MAX_HEAD_BYTES = 1 << 18
_MAX_REPLIES = 64
"""What real messages stay far below; beyond it a message is refused, as reading it would take
quadratic time.
"""
_LISTS = ("transfer-encoding", "content-encoding", "content-type")
"""Fields that stand for one list when they are repeated."""

_CHUNK = re.compile(rb"0{0,16}([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?(\r?\n)")
_CUT_SIZE = re.compile(rb"[0-9A-Fa-f]{0,16}[ \t]*(?:;[^\r\n]*)?\r?")
_LAST_CHUNK = re.compile(rb"0+[ \t]*(?:;[^\r\n]*)?(?:\r?\n|$)")
_TRAILERS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n]*(?:\r?\n|$))*\s*")
_CODED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
_MAX_CODINGS = 8
_PEEK_BYTES = 64
_GZIP = b"\x1f\x8b\x08"
_COMPRESS = b"\x1f\x9d"
_UNTOLD = 2
"""How often a body is taken from gzip or Zstandard beyond what its header says: servers code
twice, or say nothing. No text begins with the first bytes of these.
"""


@dataclass(frozen=True, slots=True)
class Message:
    """The final reply of an exchange; names of header fields are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def is_http(data: bytes) -> bool:
    """Whether bytes begin with a status line."""
    return _STATUS.match(data) is not None


def message(data: bytes) -> Message:
    """The final reply in stored HTTP bytes. Passes over interim replies (1xx) and a proxy's answer
    to CONNECT.

    The latter is a 200 without any word on its content, which another status line follows. Raises
    Unreadable("http").
    """
    data = data.lstrip(b"\r\n")
    for _ in range(_MAX_REPLIES):
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
    """An HTTP body without its codings, and whether it was whole; it is at most a block larger than
    `max_bytes`.

    Raises Unreadable("chunked") or Unreadable("content_encoding") where there is damage inside it.
    """
    applied = [*_codings(headers, "content-encoding"), *_codings(headers, "transfer-encoding")]
    if len(applied) > _MAX_CODINGS:
        raise Unreadable("content_encoding")
    whole = Decoded(body, truncated=not applied and _is_short(headers, body))
    if "chunked" not in applied and (untold := _chunked_untold(body)):
        whole = untold
    for coding in reversed(applied):
        whole = _and(whole, _undone(coding, whole.data, max_bytes))
    for _ in range(_UNTOLD):
        if whole.data.startswith(_GZIP):
            whole = _and(whole, _undone("gzip", whole.data, max_bytes))
        elif is_zstd(whole.data):
            whole = _and(whole, _undone("zstd", whole.data, max_bytes))
    return whole


def _and(before: Decoded, after: Decoded) -> Decoded:
    return Decoded(
        after.data, before.truncated or after.truncated, before.trailing or after.trailing
    )


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


def _undone(coding: str, data: bytes, max_bytes: int) -> Decoded:
    """One coding taken away, where the bytes show that it is there. Names of charsets and the like
    change nothing.
    """
    if coding == "chunked":
        return _dechunked(data)
    if coding == "compress" and data.startswith(_COMPRESS):
        raise Unreadable(
            "content_encoding"
        )  # nobody has sent it for decades, and nothing here reads it
    if coding not in CODINGS or not data.strip():
        return Decoded(data)
    try:
        return undo(coding, data, max_bytes)
    except Damaged as error:
        raise Unreadable("content_encoding") from error


def _chunked_untold(body: bytes) -> Decoded | None:
    """A body that is surely in chunks though no header says so: framed to the end, around
    mark-up or a coded body.
    """
    size = _CHUNK.match(body)
    if (
        size is None
        or size[2] != b"\r\n"
        or not _begins_content(body[size.end() : size.end() + _PEEK_BYTES])
    ):
        return None
    try:
        found = _dechunked(body)
    except Unreadable:
        return None
    whole = not found.truncated and not found.trailing and len(found.data) < len(body)
    return found if whole else None


def _dechunked(body: bytes) -> Decoded:
    parts: list[bytes] = []
    at = 0
    while size := _CHUNK.match(body, at):
        length = int(size[1], 16)
        if length == 0:
            break
        start, end = size.end(), size.end() + length
        if end >= len(body):  # cut within this chunk, or within the line end after it
            looks_chunked = parts or (size[2] == b"\r\n" and _begins_content(body[start:]))
            return (
                Decoded(b"".join([*parts, body[start:]]), truncated=True)
                if looks_chunked
                else Decoded(body)
            )
        after = (
            2
            if body.startswith(b"\r\n", end)
            else 1
            if body[end : end + 1] in (b"\n", b"\r")
            else 0
        )
        if not after:
            break
        parts.append(body[start:end])
        at = end + after
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
    """Whether what stands after a first line of hex digits is surely the content: mark-up or a
    coded body.
    """
    return data.startswith(_CODED) or data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"
