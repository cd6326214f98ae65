"""Makes small web archives in memory, for tests to damage."""

from __future__ import annotations

import gzip


def record(
    kind: str,
    body: bytes,
    uri: str = "http://example.org/",
    content_type: str = "",
    length: int | None = None,
) -> bytes:
    """One WARC record; `length` overrides its Content-Length."""
    content_type = content_type or {"response": "application/http; msgtype=response"}.get(
        kind, "text/plain"
    )
    size = len(body) if length is None else length
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {uri}\r\nWARC-Date: "
        f"2024-05-01T00:00:00Z\r\nContent-Type: {content_type}\r\nContent-Length: {size}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def response(
    page: bytes,
    headers: str = "Content-Type: text/html",
    status: str = "200 OK",
    uri: str = "http://a/",
) -> bytes:
    """A response record that holds an HTTP message."""
    return record("response", f"HTTP/1.1 {status}\r\n{headers}\r\n\r\n".encode() + page, uri)


def page(number: int, words: int = 60) -> bytes:
    """An HTML page whose main text contains its number."""
    text = " ".join(f"Sentence {i} of page number {number}." for i in range(words // 6))
    return (
        f"<html><body><article><h1>Page {number}</h1><p>{text}</p></article></body></html>".encode()
    )


def members(records: list[bytes]) -> bytes:
    """An archive with one gzip member per record."""
    return b"".join(gzip.compress(record, mtime=0) for record in records)
