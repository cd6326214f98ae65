"""Pages of real archives as we read them and as FastWARC does, and why the two differ.

A page, to FastWARC's side: a response with status 200 that is declared HTML, XHTML or plain text,
or nothing at all; in WET, a conversion.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from fastwarc.warc import ArchiveIterator, WarcRecordType

from tasks.ingest.file_kinds import mismatch
from tasks.ingest.raw_documents import RawDocument
from tasks.ingest.web import web_documents

PAGE_TYPES = ("text/html", "application/xhtml+xml", "text/plain", "")
MAX_PAGE_BYTES = 32 << 20

EXPLAINED = {
    "clipped.warc.gz": (0, 1, "its one member is cut: a page without its end is a failure (gzip)"),
    "transfer_compression_none_truncated.warc.gz": (
        0,
        1,
        "the page's member is cut: a failure (gzip)",
    ),
    "IAH-20080430204825-00000-blackbook-truncated.warc": (2, 3, "one is a robots.txt"),
    "IAH-20080430204825-00000-blackbook-truncated.warc.gz": (2, 3, "one is a robots.txt"),
    "IAH-urls-wget.warc.gz": (2, 3, "one is a robots.txt"),
    "example-resource.warc.gz": (1, 0, "a resource with an address is a page too"),
}
"""File name -> (our pages, FastWARC's, why they differ)."""


def archives(folder: Path) -> list[Path]:
    """Every file of the folder of real archives."""
    return sorted(path for path in (folder / "warc").rglob("*") if path.is_file())


def is_wet(path: Path) -> bool:
    return ".wet" in path.name


def outcomes(path: Path) -> Counter[str]:
    """What became of each record: "page", or why it is none; "refused: KIND" for a file that the
    plan refuses, such as ARC.
    """
    other = mismatch(path, "wet" if is_wet(path) else "warc")
    if other and not other.readable:
        return Counter({f"refused: {other.reason}": 1})
    found = web_documents(path, lambda *_: True, wet=is_wet(path), max_page_bytes=MAX_PAGE_BYTES)
    return Counter("page" if isinstance(one, RawDocument) else one.reason for one in found)


def fastwarc_pages(path: Path) -> int:
    """Pages up to the end of the file, or up to the first error."""
    pages = 0
    wanted = WarcRecordType.conversion if is_wet(path) else WarcRecordType.response
    try:
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream, record_types=wanted):
                http = record.http_headers
                declared = (record.http_content_type or "").lower()
                pages += is_wet(path) or (
                    http is not None and http.status_code == 200 and declared in PAGE_TYPES
                )
    except OSError:
        pass
    return pages
