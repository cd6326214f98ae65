"""Web archive records to documents: which records are pages, and their text (WARC responses and resources, WET)."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from fastwarc.stream_io import BrotliReader, ZstdReader

from tasks.ingest.charset.choose import decode
from tasks.ingest.found import SAMPLED_OUT, Found, Rejected, Unreadable, Wanted, iso_date
from tasks.ingest.page import html_text
from tasks.ingest.pieces import pieces
from tasks.ingest.records import Broken, Record, parse_headers, records

_RECORD_TYPES = ("warcinfo", "request", "response", "metadata", "revisit", "resource", "conversion", "continuation")
_HEADERS_BYTES = 1 << 16
"""What a record may be longer than its page."""
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?:[ \t\r\n]|$)")
_HEADERS_END = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s\"';,]{1,40})", re.IGNORECASE)
_HTML_TYPES = ("text/html", "application/xhtml+xml")
_LOOKS_HTML = re.compile(rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|head|body)[\s>]", re.IGNORECASE | re.DOTALL)
_SNIFFED_BYTES = 1024


class Dropped(Unreadable):
    """A record that is well but not wanted."""


def web_documents(path: Path, wanted: Wanted, *, wet: bool, max_page_bytes: int) -> Iterator[Found | Rejected]:
    """Every record of a web archive in order. WARC: HTML and plain-text pages with status 200; WET: its conversions."""
    for record in records(pieces(path), max_page_bytes + _HEADERS_BYTES):
        if isinstance(record, Broken):
            yield Rejected("dropped" if record.too_large else "failed", record.reason, lost_bytes=record.lost_bytes)
        elif not wanted(record.offset, record.inner):
            yield SAMPLED_OUT
        else:
            yield _document(record, wet, max_page_bytes)


def _document(record: Record, wet: bool, max_page_bytes: int) -> Found | Rejected:
    page = record.body
    try:
        if wet:
            text = _conversion_text(record)
        else:
            page, content_type, charset = _page(record, max_page_bytes)
            text = html_text(page, charset) if content_type in _HTML_TYPES else decode(page, (charset,))
    except Dropped as error:
        return Rejected("dropped", str(error), len(record.body))
    except Unreadable as error:
        reason = str(error)
        return Rejected("dropped" if reason.startswith("page_too") else "failed", reason, len(record.body))
    return Found(
        record.offset, record.inner, text, "", _url(record), iso_date(record.headers.get("warc-date", "")), len(page)
    )


def _url(record: Record) -> str:
    return record.headers.get("warc-target-uri", "").removeprefix("<").removesuffix(">")


def _type_of(record: Record) -> str:
    kind = record.headers.get("warc-type", "").lower()
    return kind if kind in _RECORD_TYPES else "other"


def _conversion_text(record: Record) -> str:
    if (kind := _type_of(record)) != "conversion":
        raise Dropped(f"warc.{kind}")
    if record.headers.get("content-type", "text/plain").partition(";")[0].strip().lower() != "text/plain":
        raise Dropped("content_type")
    return decode(record.body)


def _page(record: Record, max_page_bytes: int) -> tuple[bytes, str, str | None]:
    """(payload, content type, charset) of a response or resource that is a page."""
    kind = _type_of(record)
    content_type = record.headers.get("content-type", "")
    headers = {"content-type": content_type}
    page = record.body
    if kind not in ("response", "resource"):
        raise Dropped(f"warc.{kind}")
    if content_type.lower().startswith("application/http") or page.startswith(b"HTTP/"):
        headers, page = _http(record.body)
    content_type, _, options = headers.get("content-type", "").partition(";")
    content_type = content_type.strip().lower()
    if content_type and content_type not in (*_HTML_TYPES, "text/plain"):
        raise Dropped("content_type")
    if content_type == "text/plain" and _url(record).endswith("/robots.txt"):
        raise Dropped("robots_txt")
    page = decoded_body(headers, page, max_page_bytes)
    if len(page) > max_page_bytes:
        raise Dropped("page_too_large")
    if not content_type:
        if not _LOOKS_HTML.match(page, 0, _SNIFFED_BYTES):
            raise Dropped("content_type")
        content_type = "text/html"
    charset = _CHARSET.search(options)
    return page, content_type, charset[1] if charset else None


def _http(message: bytes) -> tuple[dict[str, str], bytes]:
    """Headers and body of an HTTP response with status 200."""
    status = _STATUS.match(message)
    end = _HEADERS_END.search(message)
    if status is None or end is None:
        raise Unreadable("http")
    if status[1] != b"200":
        raise Dropped("http_status")
    return parse_headers(message[: end.start()]), message[end.end() :]


def decoded_body(headers: dict[str, str], body: bytes, max_bytes: int) -> bytes:
    """An HTTP body without its transfer and content encodings; at most one byte more than `max_bytes`.

    Crawlers often store the decoded body under the old headers, so an encoding that the first bytes do not bear out is
    taken as already undone. A body that ends early gives what is there. Raises Unreadable("chunked") or
    Unreadable("content_encoding").
    """
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _dechunked(body)
    for encoding in reversed(headers.get("content-encoding", "").lower().split(",")):
        match encoding.strip():
            case "gzip" | "x-gzip" if body[:2] == b"\x1f\x8b":
                body = _inflated(body, (31,), max_bytes)
            case "deflate" if body.lstrip()[:1] != b"<":
                body = _inflated(body, (15, -15), max_bytes)
            case "br" if body.lstrip()[:1] != b"<":
                body = _streamed(BrotliReader, body, max_bytes)
            case "zstd" if body[:4] == b"\x28\xb5\x2f\xfd":
                body = _streamed(ZstdReader, body, max_bytes)
    return body


def _dechunked(body: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    while size := _CHUNK.match(body, at):
        length = int(size[1], 16)
        at = size.end()
        if length == 0:
            return b"".join(parts)
        parts.append(body[at : at + length])
        at += length
        if body[at : at + 1] == b"\r":
            at += 1
        if body[at : at + 1] == b"\n":
            at += 1
    if not parts:
        return body
    if at < len(body):
        raise Unreadable("chunked")
    return b"".join(parts)


def _inflated(body: bytes, windows: tuple[int, ...], max_bytes: int) -> bytes:
    for bits in windows:
        try:
            return zlib.decompressobj(bits).decompress(body, max_bytes + 1)
        except zlib.error:
            continue
    raise Unreadable("content_encoding")


def _streamed(reader: type[BrotliReader] | type[ZstdReader], body: bytes, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        with reader(io.BytesIO(body)) as stream:
            while size <= max_bytes and (part := stream.read(min(1 << 16, max_bytes + 1 - size))):
                parts.append(part)
                size += len(part)
    except (OSError, ValueError) as error:
        raise Unreadable("content_encoding") from error
    return b"".join(parts)
