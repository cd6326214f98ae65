"""Reads web archives into documents: selects the records that are pages (WARC responses and
resources, WET conversions), and extracts their text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.ingest.charset.detect import decode
from tasks.ingest.content_type import Kind, declared, kind_of, may_be_page
from tasks.ingest.decompress import chunks
from tasks.ingest.http import decoded_body, is_http, message
from tasks.ingest.page import source_of, text_of
from tasks.ingest.raw_documents import (
    SAMPLED_OUT,
    RawDocument,
    Rejected,
    Unreadable,
    Wanted,
    iso_date,
)
from tasks.ingest.records import RECORDS, Broken, Record, records

_RECORD_TYPES = (
    "warcinfo",
    "request",
    "response",
    "metadata",
    "revisit",
    "resource",
    "conversion",
    "continuation",
)
_HEADERS_BYTES = 1 << 16
"""Bytes by which a record may exceed its page."""
_ADDRESS = re.compile(r"(?:https?|ftps?|gopher|gemini|file):", re.IGNORECASE)
"""Target URIs of resources that are documents. Crawlers store logs and screenshots under other
schemes (metadata:, urn:).
"""
_NOT_WHAT_IT_SAYS = {
    "text/html": "not_html",
    "application/xhtml+xml": "not_html",
    "text/plain": "not_text",
}


@dataclass(frozen=True, slots=True)
class Page:
    """A decoded payload. `marks`: as in `RawDocument`."""

    data: bytes
    kind: Kind
    charset: str | None
    marks: tuple[str, ...]


class Unwanted(Unreadable):
    """A sound record that is not wanted; the message is the reason in the ledger."""


def web_documents(
    path: Path, wanted: Wanted, *, wet: bool, max_page_bytes: int
) -> Iterator[RawDocument | Rejected]:
    """The outcome of every record of a web archive, in order.

    Documents are, in WARC, HTML and plain-text pages with status 200; in WET, the conversions.
    """
    for record in records(chunks(path, RECORDS), max_page_bytes + _HEADERS_BYTES):
        if isinstance(record, Broken):
            yield Rejected(
                "dropped" if record.too_large else "failed",
                record.reason,
                lost_bytes=record.lost_bytes,
            )
        elif not wanted(record.offset, record.inner):
            yield SAMPLED_OUT
        else:
            yield _document(record, wet, max_page_bytes)


def _document(record: Record, wet: bool, max_page_bytes: int) -> RawDocument | Rejected:
    removed = 0
    try:
        page = _conversion(record) if wet else _page(record, max_page_bytes)
        if page.kind == "html":
            source = source_of(page.data, page.charset)
            text, removed = text_of(source), source.count(b"\0")
        else:
            text = decode(page.data, (page.charset,))
    except Unwanted as error:
        return Rejected("dropped", str(error), len(record.body))
    except Unreadable as error:
        reason = str(error)
        return Rejected(
            "dropped" if reason.startswith("page_too") else "failed", reason, len(record.body)
        )
    return RawDocument(
        record.offset,
        record.inner,
        text,
        url=_url(record),
        date=iso_date(record.headers.get("warc-date", "")),
        payload_bytes=len(page.data),
        marks=page.marks,
        removed=removed,
    )


def _url(record: Record) -> str:
    return record.headers.get("warc-target-uri", "").removeprefix("<").removesuffix(">")


def _type_of(record: Record) -> str:
    kind = record.headers.get("warc-type", "").lower()
    return kind if kind in _RECORD_TYPES else "other"


def _conversion(record: Record) -> Page:
    """The text in a WET record. Raises Unwanted."""
    if (kind := _type_of(record)) != "conversion":
        raise Unwanted(f"warc.{kind}")
    type_ = record.headers.get("content-type", "text/plain").partition(";")[0].strip().lower()
    if type_ != "text/plain":
        raise Unwanted("content_type")
    return Page(record.body, "text", None, _truncated(record))


def _page(record: Record, max_page_bytes: int) -> Page:
    """The page in a response or resource. Raises Unwanted or Unreadable."""
    kind = _type_of(record)
    if kind not in ("response", "resource"):
        raise Unwanted(f"warc.{kind}")
    if kind == "resource" and not _ADDRESS.match(_url(record)):
        raise Unwanted("resource_target")
    headers, payload = {"content-type": record.headers.get("content-type", "")}, record.body
    if headers["content-type"].lower().startswith("application/http") or is_http(payload):
        response = message(payload)
        if response.status != 200:
            raise Unwanted("http_status")
        headers, payload = dict(response.headers), response.body
    type_, charset = declared(headers.get("content-type", ""))
    if not may_be_page(type_):
        raise Unwanted("content_type")
    if type_ == "text/plain" and _url(record).endswith("/robots.txt"):
        raise Unwanted("robots_txt")
    body = decoded_body(headers, payload, max_page_bytes)
    if len(body.data) > max_page_bytes:
        raise Unwanted("page_too_large")
    content_kind = kind_of(type_, body.data)
    if content_kind is None:
        raise Unwanted(_NOT_WHAT_IT_SAYS.get(type_, "content_type"))
    marks = ("truncated",) if body.truncated else _truncated(record)
    if body.trailing:
        marks += ("trailing",)
    return Page(body.data, content_kind, charset, marks)


def _truncated(record: Record) -> tuple[str, ...]:
    """The mark "truncated" if the crawler says that it stored only a part. Continuation records are
    not joined.
    """
    is_part = "warc-truncated" in record.headers or "warc-segment-number" in record.headers
    return ("truncated",) if is_part else ()
