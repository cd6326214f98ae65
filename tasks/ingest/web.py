"""Reads web archives into documents: selects the records that are pages (WARC responses and
resources, WET conversions), and extracts their text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tasks.ingest.charset.detect import decode
from tasks.ingest.content_type import Kind, declared, kind_of, may_be_page
from tasks.ingest.decompress import chunks
from tasks.ingest.http import decoded_body, is_http, message
from tasks.ingest.page import Extractor, read_page, source_of
from tasks.ingest.page_language import page_language
from tasks.ingest.raw_documents import (
    SAMPLED_OUT,
    RawDocument,
    Rejected,
    Unreadable,
    Wanted,
    iso_date,
)
from tasks.ingest.record import Broken, Record
from tasks.ingest.records import RECORDS, records
from tasks.ingest.rejected import HEAD_BYTES
from tasks.ingest.stated import NOTHING_STATED, Stated

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
HEADERS_BYTES = 1 << 16
"""Bytes by which a record may exceed its page."""
_CRAWL = re.compile(r"CC-(?:NEWS|[A-Z]+(?:-\d+)+)")
_ARCHIVE = re.compile(rf"crawl-data/({_CRAWL.pattern})/.*")
_PART_OF = re.compile(rf"^isPartOf:[ \t]*({_CRAWL.pattern})[ \t]*\r?$".encode(), re.I | re.M)
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
    path: Path,
    wanted: Wanted,
    *,
    wet: bool,
    max_page_bytes: int,
    extractor: Extractor = "puna",
    crawl: str | None = None,
) -> Iterator[RawDocument | Rejected]:
    """The outcome of every record of a web archive, in order.

    Documents are, in WARC, HTML and plain-text pages with status 200; in WET, the conversions.
    `crawl`: the one of Common Crawl that the archive is of, where known; else what the archive's
    records "warcinfo" say of those behind them.
    """
    known = crawl is not None
    for record in records(chunks(path, RECORDS), max_page_bytes + HEADERS_BYTES):
        if not known and isinstance(record, Record) and _type_of(record) == "warcinfo":
            crawl = _crawl_in(record)
        yield outcome_of(
            record,
            wanted,
            wet=wet,
            max_page_bytes=max_page_bytes,
            extractor=extractor,
            crawl=crawl,
        )


def crawl_of_archive(name: str) -> str | None:
    """The crawl in an archive's path as Common Crawl lists it (crawl-data/CRAWL/...)."""
    found = _ARCHIVE.fullmatch(name)
    return found[1] if found else None


def _crawl_in(record: Record) -> str | None:
    """The crawl that a record "warcinfo" names; None for other crawlers' collections."""
    found = _PART_OF.search(record.body)
    return found[1].decode() if found else None


def outcome_of(
    record: Record | Broken,
    wanted: Wanted,
    *,
    wet: bool,
    max_page_bytes: int,
    extractor: Extractor = "puna",
    crawl: str | None = None,
) -> RawDocument | Rejected:
    """What becomes of one record; `crawl`: the one that it is of."""
    if isinstance(record, Broken):
        side: Literal["dropped", "failed"] = "dropped" if record.too_large else "failed"
        return Rejected(
            side, record.reason, lost_bytes=record.lost_bytes, place=record.place, head=record.head
        )
    if not wanted(record.offset, record.inner, key_of(record)):
        return SAMPLED_OUT
    return _document(record, wet, max_page_bytes, extractor, crawl)


def key_of(record: Record) -> bytes:
    """What a record's id is made of: its header block, which has an id of its own and digests.

    So a record has the same id wherever its archive lies and however much of that is read. The
    content counts too where the header has no id, which WARC demands.
    """
    if "warc-record-id" in record.headers:
        return record.head
    return record.head + hashlib.sha256(record.body).digest()


def _document(
    record: Record, wet: bool, max_page_bytes: int, extractor: Extractor, crawl: str | None
) -> RawDocument | Rejected:
    removed, language = 0, None
    stated = NOTHING_STATED if crawl is None else Stated(dump=crawl)
    try:
        page = _conversion(record) if wet else _page(record, max_page_bytes)
        if page.kind == "html":
            language = ""
            source = source_of(page.data, page.charset)
            language = page_language(source)
            text, metadata = read_page(source, extractor)
            removed = source.count(b"\0")
            stated = Stated(
                title=metadata.title,
                author=metadata.author,
                published=metadata.date,
                declared_language=metadata.language or language or None,
                dump=crawl,
            )
        else:
            text = decode(page.data, (page.charset,))
    except Unwanted as error:
        return _rejected(record, "dropped", str(error))
    except Unreadable as error:
        reason = str(error)
        side: Literal["dropped", "failed"] = "failed"
        side = "dropped" if reason.startswith("page_too") else side
        return replace(_rejected(record, side, reason), page_language=language)
    return RawDocument(
        record.offset,
        record.inner,
        text,
        url=_url(record),
        date=iso_date(record.headers.get("warc-date", "")),
        payload_bytes=len(page.data),
        marks=page.marks,
        removed=removed,
        key=key_of(record),
        stated=stated,
        page_language=language,
    )


def _rejected(record: Record, side: Literal["dropped", "failed"], reason: str) -> Rejected:
    return Rejected(
        side,
        reason,
        len(record.body),
        place=(record.offset, record.inner),
        url=_url(record),
        head=record.body[:HEAD_BYTES],
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
